"""The check, on papers made by a foreign library, and on their attacks."""

import dataclasses
import datetime as dt
import hashlib
import io
import random  # noqa: TID251 - the same flips on every run
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from core.formats.merkle import leaf_hash
from core.formats.note import NoteKey, checkpoint_text, proof_text, sign_note
from core.values import Realm, Regime
from tests.verification import paper
from tests.verification.paper import DAY, NOW
from verification.facts import CopyFacts, Recall
from verification.policy import Policy, TrustAnchor
from verification.report import Verdict
from verification.verify import verify


def sha(data):
    return hashlib.sha256(data).digest()


class OneCopy:
    def __init__(self, facts):
        self.facts = facts

    async def by_file(self, sha256, prefixes):
        hit = sha256 in self.facts.released_digests or self.facts.content_sha256 in prefixes
        return self.facts if hit else None

    async def by_code(self, seal_id):
        return self.facts if seal_id == self.facts.seal_id else None


def facts(document, **changes):
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    note = NoteKey("log.example", key.public_key().public_bytes_raw())
    text = checkpoint_text("log.example", 1, leaf_hash(b"leaf"))
    receipt = proof_text(0, [], sign_note(text, note, key.sign(text.encode()))).encode()
    given = CopyFacts(
        copy_id="c1", realm=Realm.PRODUCTION, regime=Regime.CERTIFIED_COPY, agency_code="A", agency_name="UBND X",
        agency_successor=None, number="1", typed_code="T", seal_id=b"s", register_state="issued", released=True,
        content_sha256=sha(paper.blank()), content_length=len(paper.blank()), released_digests=(sha(document),),
        certifier_cert_sha256=sha(paper.der(paper.cert("Chung thuc", "Root"))),
        seal_cert_sha256=sha(paper.der(paper.cert("Con dau", "Root"))),
        recalled=None, receipt=receipt, leaf=b"leaf", log_vkey=str(note), qr_claims={},
    )  # fmt: skip
    return dataclasses.replace(given, **changes)


@pytest.fixture(scope="module")
def good():
    return paper.copy()


async def check(document, register=None, *, at=NOW + DAY, realm=Realm.PRODUCTION, root="Root"):
    anchors = (TrustAnchor(certificate=paper.der(paper.root(root)), realm=realm),)
    return await verify(document, at=at, policy=Policy(anchors=anchors, at=at), register=register)


def codes(report):
    return {f.code for f in report.findings if f.severity == "error"}


async def test_a_released_copy_is_genuine(good):
    report = await check(good, OneCopy(facts(good)))
    assert report.verdict is Verdict.GENUINE, report.findings
    assert [s.level for s in report.signatures] == ["PAdES-B-LT"] * 2
    with pytest.raises(TypeError):
        bool(report)


async def test_offline_a_copy_of_ours_ends_at_undetermined(good):
    report = await check(good)
    assert report.verdict is Verdict.UNDETERMINED
    assert "recall not checked" in report.sentence("en")


async def test_a_training_root_says_so_and_an_unknown_root_is_never_genuine(good):
    training = await check(good, OneCopy(facts(good, realm=Realm.TRAINING)), realm=Realm.TRAINING)
    assert training.sentence("en").startswith("[TRAINING")
    assert (await check(good, OneCopy(facts(good)), root="Other")).verdict is Verdict.UNKNOWN
    assert (await check(good, OneCopy(facts(good)), realm=Realm.TRAINING)).verdict is Verdict.INVALID


async def test_without_revocation_data_it_says_not_checked():
    document = paper.copy(dss=False)
    report = await check(document, OneCopy(facts(document)))
    assert report.verdict is Verdict.UNDETERMINED
    assert codes(report) == {"verify.revocation_not_checked"}


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"recalled": Recall(NOW, "sai", None)}, Verdict.RECALLED, "verify.recalled"),
        ({"released_digests": (b"0" * 32,)}, Verdict.ALTERED, "verify.differs_from_register"),
        ({"register_state": "voided"}, Verdict.INVALID, "verify.number_voided"),
        ({"released": False}, Verdict.INVALID, "verify.not_released"),
        ({"seal_cert_sha256": b"0" * 32}, Verdict.INVALID, "verify.wrong_signer"),
        ({"leaf": b"other"}, Verdict.INVALID, "verify.receipt_wrong"),
        ({"receipt": None}, Verdict.UNDETERMINED, "verify.receipt_not_checked"),
    ],
)
async def test_the_register_has_the_last_word(good, changes, verdict, code):
    report = await check(good, OneCopy(facts(good, **changes)))
    assert report.verdict is verdict
    assert code in codes(report)


async def test_sixty_bit_flips_are_never_genuine(good):
    rng = random.Random(7)
    for _ in range(60):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        report = await check(bytes(bad), OneCopy(facts(good)))
        assert report.verdict is not Verdict.GENUINE


def _update(data, change):
    writer = IncrementalPdfFileWriter(io.BytesIO(data))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _hide_object(data):
    """An unlisted object between the last listed one and its xref, with the pointer moved along."""
    xref = data.rindex(b"\nxref") + 1
    orphan = b"99 0 obj\n<< /A 1 >>\nendobj\n"
    tail = data[xref:].replace(b"startxref\n%d" % xref, b"startxref\n%d" % (xref + len(orphan)))
    return data[:xref] + orphan + tail


def _swap_contents(writer):
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"1 0 0 rg 0 0 9 9 re f"))
    writer.update_container(page)


def _replace_stream(writer):
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    page["/Contents"]._data = b"1 0 0 rg"
    page["/Contents"]._encoded_data = None
    writer.mark_update(page.raw_get("/Contents"))


@pytest.mark.parametrize(
    "attack",
    [
        lambda d: d + b"\n",
        lambda d: d + b"99 0 obj\n<< /A 1 >>\nendobj\n",
        lambda d: d + b"99 0 obj\n<< /A 1 >>\nendobj\n" + d[d.rindex(b"startxref") :],
        _hide_object,
        lambda d: b"\n" + d,
        lambda d: _update(d, _swap_contents),
        lambda d: _update(d, _replace_stream),
        lambda d: paper.sign(d, "Third", paper.signer("Ke ba")),
        lambda d: d.replace(b"/ByteRange [0 ", b"/ByteRange [1 ", 1),
    ],
)
async def test_attacks_on_a_finished_copy_are_altered_by_the_bytes_alone(good, attack):
    bad = attack(good)
    assert bad != good
    report = await check(bad, OneCopy(facts(bad)))  # even a register that vouches for the bytes does not help
    assert report.verdict in {Verdict.ALTERED, Verdict.INVALID}, report.findings


async def test_junk_after_the_cms_in_contents_is_found(good):
    at = good.rindex(b"/Contents <")
    end = good.index(b">", at)
    junk = b"beef" if re.search(rb"[a-f]", good[at + 11 : end]) else b"BEEF"  # in the case of what stands there
    bad = good[: end - 4] + junk + good[end:]
    report = await check(bad, OneCopy(facts(bad)))
    assert report.verdict is Verdict.INVALID
    assert "verify.signature_malformed" in codes(report)


async def test_a_seal_forged_under_another_root_is_not_trusted():
    bad = paper.with_dss(
        paper.sign(
            paper.sign(paper.blank(), "Certifier", paper.signer("Chung thuc"), certify=True),
            "Seal",
            paper.signer("Con dau gia", "Evil"),
        ),
        paper.crl(),
    )
    report = await check(bad)
    assert report.verdict is Verdict.UNKNOWN
    assert "verify.no_trusted_path" in codes(report)


@pytest.mark.parametrize(("when", "verdict"), [(NOW - DAY, Verdict.INVALID), (NOW + DAY / 2, Verdict.GENUINE)])
async def test_revocation_counts_only_before_the_proven_time(when, verdict):
    document = paper.with_dss(paper.copy(dss=False), paper.crl((paper.cert("Con dau", "Root"), when), at=NOW + DAY))
    report = await check(document, OneCopy(facts(document)))
    assert report.verdict is verdict, report.findings


async def test_a_certificate_expired_at_the_proven_time_is_invalid():
    dates = {"end": NOW - dt.timedelta(days=1)}
    document = paper.copy(certifier="Het han", **dates)
    report = await check(document)
    assert report.verdict is Verdict.INVALID
    assert "verify.certificate_expired" in codes(report)


async def test_an_unsigned_paper_is_unknown():
    assert (await check(paper.blank())).verdict is Verdict.UNKNOWN
    assert (await check(b"hello")).verdict is Verdict.UNKNOWN


async def test_a_hidden_object_after_the_last_signature_is_found_for_what_it_is(good):
    report = await check(_hide_object(good))
    assert "verify.bytes_unaccounted" in codes(report)


async def test_every_finding_has_a_sentence(good):
    for report in (await check(good), await check(good + b"x"), await check(b"hello")):
        assert all(f.text("vi") != f.code and f.text("en") != f.code for f in report.findings)
        assert set(report.to_json()) == {
            "file",
            "verdict",
            "realm",
            "sentence",
            "sentence_en",
            "signatures",
            "findings",
        }


def test_the_page_the_sandbox_warms_up_with_is_judged_to_the_end():
    from importlib.resources import files

    from verification.worker import judge

    kept = files("verification") / "warm"
    anchor = TrustAnchor(certificate=(kept / "root.der").read_bytes(), realm=Realm.TRAINING)
    answer, _ = judge(
        (kept / "page.pdf").read_bytes(), {"at": "2026-11-26T00:00:00+00:00", "anchors": [anchor.to_json()]}
    )
    assert [s["indication"] for s in answer["signatures"]] == ["TOTAL-PASSED", "TOTAL-PASSED"]
