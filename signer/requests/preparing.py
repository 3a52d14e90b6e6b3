"""Fixing the bytes that a step signs. The sandbox writes them; what it gave back is compared here before anybody is asked.

A stranger's document may take its sandbox over. Even then nobody signs something else: the result must be the revision
that we have with one update behind it, and every digest is made again here.
"""

from dataclasses import dataclass, replace

from core.certificates import Certificate
from core.errors import Broken, Refused
from core.formats.cms import CmsProfile
from core.values import Digest, Realm
from signer.ceremony import profile_of
from signer.credentials import Credential
from signer.formats import cades, pades
from signer.formats.stamp import StampText
from signer.papers.judging import require_rehearsed
from signer.papers.model import PaperFacts, Placement
from signer.requests.making import gather_few
from signer.requests.model import RequestDocument, RequestStep, RequestView
from signer.requests.parts import Parts
from signer.requests.rights import capacity_of
from signer.requests.signed import Signed, signed_of

__all__ = ["Fixed", "prepare_all", "require_official"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One document's part of an opening; the bytes themselves are in the store."""

    prepared: pades.PreparedSignature | cades.PreparedDigest
    name: str
    base: str | None
    """The revision it stands on; None for a bare digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What the signature says of its signer."""

    signer: str
    stamp: StampText | None


async def prepare_all(parts: Parts, view: RequestView, step: RequestStep, credential: Credential) -> list[Fixed]:
    """All documents, in their order. Raises ``request.*``, ``pades.*``, ``cades.other_digest``, ``sandbox.*``."""
    words = await _words(parts, view, step, credential)
    profile = profile_of(credential)
    signed = await signed_of(parts, view)
    papers = zip(view.documents, signed, strict=True)
    return await gather_few([_one(parts, view, step, document, made, profile, words) for document, made in papers])


async def _words(parts: Parts, view: RequestView, step: RequestStep, credential: Credential) -> _Words:
    """A person's name is the certificate's: what stands on the page is what stands in the signature."""
    async with parts.signing.db.read() as uow:
        agency = await parts.directory.agency(uow, view.agency_id)
        person = await parts.directory.person(uow, step.person_id)
        capacity = ""
        if step.kind == "official":
            capacity = await capacity_of(uow, parts, person.id, agency.id)
    assert credential.certificate is not None
    signer = agency.name if step.kind == "seal" else Certificate.parse(credential.certificate).common_name
    if step.placement is None or step.placement["kind"] == "none":
        return _Words(signer=signer, stamp=None)
    picture = None
    if step.kind != "citizen":
        picture = await parts.pictures.of("seal" if step.kind == "seal" else "certifier", agency, person)
    stamp = StampText(
        signer=signer, signed_at=parts.clock.now(), reason=view.reason, capacity=capacity, picture=picture,
        training=view.realm is Realm.TRAINING, words=step.kind != "seal" or picture is None,
    )  # fmt: skip
    return _Words(signer=signer, stamp=stamp)


async def _one(
    parts: Parts, view: RequestView, step: RequestStep, document: RequestDocument, signed: list[Signed],
    profile: CmsProfile, words: _Words,
) -> Fixed:  # fmt: skip
    documents, now = parts.signing.documents, parts.clock.now()
    if document.kind == "digest":
        detached = cades.prepare(document.given(), profile, signed_at=now)
        return Fixed(prepared=detached, name=await documents.put(detached.signed_attributes), base=None)
    assert document.current is not None
    data = await documents.get(document.current)
    if step.kind == "seal":
        await require_official(parts, view, step, document, data)
    placement = None if step.placement is None else Placement.from_json(dict(step.placement))
    field = placement.field if placement is not None and placement.kind == "field" else f"Dauso-{step.id}"
    prepared, facts = await parts.papers.prepare(
        parts.sandbox, data, profile, placement=placement, signed_at=now, signer_name=words.signer,
        reason=view.reason or None, timestamp_size=parts.signing.timestamps.size, field=field,
        stamp=words.stamp,
    )  # fmt: skip
    _require_as_asked(data, prepared, profile, field)
    ours = {str(s.order.prepared["field"]): Certificate.parse(s.certificate).sha256.hex() for s in signed}
    require_rehearsed(facts, field, ours=ours, earlier=PaperFacts.from_json(dict(document.facts)).signatures)
    name = await documents.put(prepared.document)
    return Fixed(prepared=replace(prepared, document=b""), name=name, base=document.current)


def _require_as_asked(base: bytes, prepared: pades.PreparedSignature, profile: CmsProfile, field: str) -> None:
    """One update behind ``base`` with one empty hole, all else covered. Raises ``request.not_as_prepared``."""
    document = prepared.document
    zero, start, end, rest = prepared.byte_range
    whole = zero == 0 and len(base) <= start < end <= len(document) and end + rest == len(document)
    hole = document[start:end]
    if not (
        whole and document.startswith(base) and hole[:1] == b"<" and hole[-1:] == b">"
        and not hole[1:-1].strip(b"0") and prepared.field == field and prepared.algorithm is profile.algorithm
        and prepared.signed_attributes == profile.signed_attributes(prepared.message_digest)
        and prepared.to_sign == Digest.of(prepared.signed_attributes, profile.digest)
    ):  # fmt: skip
        raise Broken("request.not_as_prepared")
    pades.require_unchanged(prepared)


async def require_official(
    parts: Parts, view: RequestView, step: RequestStep, document: RequestDocument, data: bytes
) -> None:
    """An agency's seal stands only over its official's signature, proven from the bytes. Raises ``request.seal_alone``."""
    before = [s for s in view.wanted if s.kind == "official" and s.position < step.position and s.state == "signed"]
    if not before:
        raise Refused("request.seal_alone")
    place = view.documents.index(document)
    async with parts.signing.db.read() as uow:
        orders = [await parts.signing.orders.get(uow, each.orders[place]) for each in before]
        credentials = [await parts.signing.credentials.get(uow, order.credential_id) for order in orders]
    for order, credential in zip(orders, credentials, strict=True):
        assert credential.certificate is not None
        pades.check(data, pades.PreparedSignature.from_json(order.prepared, b""), credential.certificate)
