"""What is asked is judged before anybody is asked to sign."""

import datetime as dt

import pikepdf
import pytest

from core.errors import BadInput, Conflict, NotFound, Refused, ServiceError
from core.limits import LIMITS
from core.values import Digest, DigestAlgorithm
from signer.papers.model import Placement
from signer.requests.model import NewDocument
from tests.signer.papers.kit import saved

FIELD = Placement(kind="field", field="Ký")
DIGEST = NewDocument(title="x", kind="digest", digest=bytes(32), algorithm=DigestAlgorithm.SHA256)


async def test_a_request_stands_whole_with_its_papers_and_its_first_steps_ready(office):
    made = await office.make(("an", "citizen", 3), ("binh", "citizen", 3), ("official", "official", 9))
    assert made == await office.view(made.id)
    assert (made.state, made.version, made.client_name, made.settled_at) == ("open", 0, "Cổng Ví Dụ", None)
    assert [s.state for s in made.steps] == ["ready", "ready", "waiting"]
    (document,) = made.documents
    assert (document.pages, document.original, document.current, document.released) == (
        1, office.paper_name, office.paper_name, None
    )  # fmt: skip
    assert document.facts["pages"] == [{"width": 595.0, "height": 842.0}]
    assert len(await office.leaves(made.id)) == 1


async def test_the_leaf_of_a_request_says_nothing_of_people_or_papers(office):
    made = await office.make("an")
    (leaf,) = await office.leaves(made.id)
    for word in ("Nguyễn", "Đơn", "trợ cấp", office.paper_name, office.ids["an"], made.client_id):
        assert word.encode() not in leaf


async def test_asked_again_under_its_id_it_is_the_same_request(office):
    wanted = office.wanted("an")
    first = await office.desk.create(wanted)
    assert await office.desk.create(wanted) == first
    with pytest.raises(Conflict, match=r"request\.exists"):
        await office.desk.create(office.wanted("an", id=wanted.id))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": " "}, "request.bad_text"),
        ({"title": "a\nb"}, "request.bad_text"),
        ({"reason": "x" * 501}, "request.bad_text"),
        ({"return_url": "javascript:alert(1)"}, "request.return_url"),
        ({"documents": ()}, "request.documents"),
        ({"documents": (NewDocument(title="x", name="0" * 64),) * (LIMITS["request.documents"] + 1)}, "request.documents"),
        ({"documents": (NewDocument(title="x"),)}, "request.bad_document"),
        ({"documents": (NewDocument(title="x", kind="digest", name="0" * 64),)}, "request.bad_document"),
        ({"documents": (NewDocument(title="x", kind="xml", name="0" * 64),)}, "request.bad_document"),
        ({"documents": (NewDocument(title="x", kind="digest", digest=b"short", algorithm=DigestAlgorithm.SHA256),)},
         "request.bad_document"),
        ({"documents": (DIGEST,)}, "request.digest_not_allowed"),
        ({"documents": (NewDocument(title="x", name="0" * 64),)}, "store.missing"),
        ({"steps": ()}, "request.steps"),
        ({"agency_id": "none"}, "directory.no_such_agency"),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_refused_by_its_code(office, change, code):
    with pytest.raises(ServiceError) as caught:
        await office.make("an", **change)
    assert caught.value.code == code
    async with office.db.read() as uow:
        from signer.requests import store

        assert await store.due(uow, office.clock.now() + dt.timedelta(days=999), 9) is not None


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((("an", "citizen", 0), ("an", "citizen", 1)), "request.same_person"),
        ((("an", "notary", 0),), "request.bad_step"),
        ((("an", "citizen", -1),), "request.bad_step"),
        ((("an", "citizen", 0, {"provider": "nobody"}),), "provider.unknown"),
        ((("clerk", "seal", 0),), "request.seal_alone"),
        ((("official", "official", 1), ("clerk", "seal", 1)), "request.seal_alone"),
        ((("an", "official", 0),), "request.not_official"),
        ((("official", "official", 0), ("an", "seal", 1)), "request.not_clerk"),
        ((("an", "citizen", 0, {"placement": FIELD}), ("binh", "citizen", 1, {"placement": FIELD})), "request.same_field"),
        ((("an", "citizen", 0, {"placement": FIELD}),), "request.no_such_field"),
        ((("an", "citizen", 0, {"placement": Placement(kind="anchor", text="không có", width=90, height=40)}),),
         "request.anchor_missing"),
    ],
)  # fmt: skip
async def test_steps_that_cannot_be_are_refused_by_their_code(office, who, code):
    with pytest.raises(ServiceError) as caught:
        await office.make(*who)
    assert caught.value.code == code


async def test_an_authorisation_that_has_ended_makes_no_official(office):
    office.clock.move(days=61)
    with pytest.raises(Refused, match=r"request\.not_official"):
        await office.make(("official", "official", 0))


@pytest.mark.parametrize("days", [0, -1, LIMITS["request.days"] + 1])
async def test_a_deadline_lies_ahead_and_not_too_far(office, days):
    with pytest.raises(BadInput, match=r"request\.deadline"):
        await office.make("an", deadline=office.clock.now() + dt.timedelta(days=days))


async def test_a_person_nobody_knows_cannot_be_asked(office):
    with pytest.raises(NotFound, match=r"directory\.no_such_person"):
        await office.desk.create(
            office.wanted(
                "an", steps=(office.wanted("an").steps[0].__class__(position=0, kind="citizen", person_id="x"),)
            )
        )


async def test_officials_and_seals_never_sign_a_bare_digest(office):
    with pytest.raises(Refused, match=r"request\.digest_for_official"):
        await office.make(("official", "official", 0), documents=(DIGEST,), digests_allowed=True)
    made = await office.make("an", documents=(DIGEST,), digests_allowed=True)
    assert made.documents[0].given() == Digest(DigestAlgorithm.SHA256, bytes(32))


async def test_a_paper_that_runs_something_is_not_taken(office):
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        name = await office.put(saved(pdf))
    with pytest.raises(ServiceError, match=r"request\.paper_script"):
        await office.make("an", documents=(NewDocument(title="x", name=name),))


async def test_papers_beyond_the_limit_together_are_refused(office, monkeypatch):
    monkeypatch.setitem(LIMITS, "request.bytes", 1000)
    with pytest.raises(BadInput, match=r"request\.too_large"):
        await office.make("an", documents=(NewDocument(title="x", name=office.paper_name),) * 2)


@pytest.mark.parametrize(
    ("limit", "more"), [("verify.signatures", b""), ("verify.revisions", b""), ("verify.signatures", b"/ETSI.RFC3161")]
)
async def test_a_paper_that_could_not_be_judged_once_all_have_signed_is_refused_at_once(
    office, monkeypatch, limit, more
):
    signed = await office.sign((await office.make("an")).steps[0])
    data = await office.desk.signing.documents.get(signed.documents[0].released)
    if more:  # a document's time-stamp, as its signature dictionary names it
        with pikepdf.new() as pdf:
            pdf.add_blank_page()
            pdf.Root.Stamped = pikepdf.Name(more.decode())
            data = saved(pdf)
    name = await office.put(data)
    documents = (NewDocument(title="x", name=name),)
    monkeypatch.setitem(
        LIMITS, limit, {"verify.signatures": 3, "verify.revisions": data.count(b"startxref") + 3}[limit]
    )
    assert await office.make("an", "binh", documents=documents)
    with pytest.raises(Refused, match=r"request\.too_many_signatures"):
        await office.make("an", "binh", "chi", documents=documents)


async def test_a_certified_copy_is_complete_and_not_signed_again(office):
    from signer.papers.model import EarlierSignature, PaperFacts

    class Seen:
        async def inspect(self, sandbox, document, placements=()):
            seal = EarlierSignature(field="Seal", signer="UBND", signed_at=None)
            return PaperFacts(pages=(), signatures=(seal,), empty_fields=(), certified=2, warnings=(), spots=())

    import dataclasses

    with pytest.raises(Refused, match=r"request\.certified_copy"):
        await dataclasses.replace(office.desk, papers=Seen()).create(office.wanted("an"))
