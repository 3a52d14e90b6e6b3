"""Certified copies that wait for their official or their clerk, one or many together, as the signing page sees them."""

import asyncio
import datetime as dt
from typing import Final

from api.bootstrap import Service
from api.sign import counting
from api.sign.shown import Described, File, Paper, Seal, Shown, Signer, Standing
from core.certificates import Certificate
from core.db import UnitOfWork
from core.errors import Conflict, NotFound, Refused
from signer.activation import redeem
from signer.activation.passkeys import Assertion
from signer.copies import store
from signer.copies.model import CertifiedCopy
from signer.copies.questions import Waiting
from signer.links import Link
from signer.papers import PageCache

__all__ = ["CopiesMatter"]

_AWAITS: Final = {"certifier": "awaiting_certifier", "clerk": "awaiting_seal"}


class CopiesMatter:
    """A person's part in one or many copies: the official attests, the clerk seals."""

    kind = "copies"

    def __init__(self, service: Service, link: Link) -> None:
        self._service, self._ids, self._person = service, link.subject, link.person_id

    async def describe(self) -> Described:
        """Our own desk asks, for the agency."""
        async with self._service.db.read() as uow:
            first = await store.get(uow, self._ids[0])
            agency = await self._service.directory.agency(uow, first.agency_id)
        return Described(
            kind=f"sign.kind.{_part(first, self._person)}", portal="", agency=agency.name, deadline=None
        )  # fmt: skip

    async def show(self, person_id: str) -> Shown:
        """One question over all of them, in the order of the link. Raises ``copy.*``."""
        left = await self._left(person_id)
        await self._service.copies.refresh(left)
        waiting = await self._service.copies.questions.together(left, person_id)
        async with self._service.db.read() as uow:
            record = await redeem.record(uow, waiting.opened.tx)
            credential = await self._service.credentials.get(uow, record.credential)
            agency = await self._service.directory.agency(uow, waiting.copies[0].agency_id)
            earlier = await self._earlier(uow, waiting)
        assert credential.certificate is not None
        part = _part(waiting.copies[0], person_id)
        return Shown(
            title=record.title, reason="", portal="", agency=agency.name,
            documents=tuple(Paper(id=copy.id, title=_title(copy), kind="pdf", pages=None) for copy in waiting.copies),
            earlier=earlier, changed=len(earlier), signs_as=Seal.of(Certificate.parse(credential.certificate)),
            consequences=(f"sign.then.{part}", "sign.then.kept"), code=record.code, tx=waiting.opened.tx,
            challenge=waiting.opened.challenge, expires=dt.datetime.fromtimestamp(record.expires, dt.UTC),
        )  # fmt: skip

    async def _left(self, person_id: str) -> list[str]:
        """Those that still wait for this person: one given up meanwhile is no reason to leave the others. All where none does."""
        async with self._service.db.read() as uow:
            copies = [await store.get(uow, each) for each in self._ids]
        left = [copy.id for copy in copies if copy.state == _AWAITS[_part(copy, person_id)]]
        return left or list(self._ids)

    async def _earlier(self, uow: UnitOfWork, waiting: Waiting) -> tuple[Signer, ...]:
        """The officials whose signature a seal is set over."""
        if waiting.orders[0].role != "seal":
            return ()
        people = dict.fromkeys(copy.certifier_id for copy in waiting.copies if copy.certifier_id is not None)
        found = [await self._service.directory.person(uow, each) for each in people]
        return tuple(Signer(name=person.name, signed_at=None) for person in found)

    async def pages(self, person_id: str, document: str) -> int:
        """Counted in the sandbox: attestation and marks may have added one."""
        data = await self._service.documents.get(await self._name(person_id, document))
        answer, _ = await self._service.sandbox.run(counting.pages, data, {})
        return int(answer["pages"])

    async def page(self, person_id: str, document: str, page: int, width: int) -> bytes:
        """Of exactly the bytes that are signed."""
        return await self._pages.image(await self._name(person_id, document), page, width)

    async def text(self, person_id: str, document: str, page: int) -> str:
        """The page as words."""
        return await self._pages.text(await self._name(person_id, document), page)

    async def approve(self, person_id: str, tx: str, assertion: Assertion) -> None:
        """Verified here and kept; every copy then goes on by itself. Raises ``activation.*``, ``copy.*``."""
        service = self._service
        waiting = await service.copies.questions.together(await self._left(person_id), person_id)
        if tx != waiting.opened.tx:  # asked again meanwhile: what was answered is no longer asked
            raise Conflict("activation.not_open")
        async with service.db.write() as uow:
            await redeem.approve(uow, service.clock, service.copies.signing.relying_party, tx, assertion)
        service.reception.go_on(*(copy.id for copy in waiting.copies))

    async def start(self, person_id: str) -> None:
        """No provider signs copies. Raises ``request.no_provider``."""
        raise Refused("request.no_provider")

    async def refuse(self, person_id: str, reason: str) -> None:
        """The official gives the numbers up; the clerk sends the papers back to the official. Raises ``copy.*``."""
        for copy_id in self._ids:
            async with self._service.db.read() as uow:
                copy = await store.get(uow, copy_id)
            if copy.state == "awaiting_seal" and copy.certifier_order is not None:
                renewed = await self._service.copies.send_back(copy_id, reason, by=person_id)
                self._service.reception.go_on(renewed)
            elif copy.state == _AWAITS[_part(copy, person_id)]:
                await self._service.copies.void(copy_id, reason)
            elif copy.state != "voided":
                raise Conflict("copy.awaits_nobody", copy=copy_id, state=copy.state)

    async def status(self, person_id: str, seconds: float) -> Standing:
        """Of all of them: as far as the one that is furthest behind."""
        if seconds > 0:
            await asyncio.gather(*(self._service.reception.rest(each, seconds) for each in self._ids[:_TOLD]))
        async with self._service.db.read() as uow:
            copies = [await store.get(uow, each) for each in self._ids]
            waits = [copy for copy in copies if copy.state == _AWAITS[_part(copy, person_id)]]
            answered = set()
            for copy in waits:
                order = await self._service.copies.signing.orders.get(uow, _order(copy))
                status = await redeem.status(uow, self._service.clock, order.activation_tx)
                if order.state != "prepared" or status.state in {"approved", "spent"}:
                    answered.add(copy.id)
        files = tuple((copy.id, _title(copy)) for copy in copies if copy.released)
        why = next((copy.reason or "" for copy in copies if copy.state == "voided"), "")
        states = {_state(copy, person_id, copy.id in answered) for copy in copies}
        state = next(each for each in _BEHIND if each in states)
        return Standing(state=state, why=why, return_url=f"{self._service.settings.url}/desk", files=files)

    async def file(self, person_id: str, document: str) -> File:
        """The released copy. Raises ``sign.no_file``."""
        copy = await self._copy(person_id, document)
        if copy.released is None:
            raise Conflict("sign.no_file")
        data = await self._service.documents.get(copy.released)
        return File(data=data, media_type="application/pdf", name=f"{copy.id}.pdf")

    # ------------------------------------------------------------------------------------------------ what is read
    @property
    def _pages(self) -> PageCache:
        return self._service.parts().pages

    async def _copy(self, person_id: str, document: str) -> CertifiedCopy:
        if document not in self._ids:
            raise NotFound("web.no_such_thing")
        async with self._service.db.read() as uow:
            copy = await store.get(uow, document)
        if person_id not in {copy.certifier_id, copy.clerk_id}:
            raise NotFound("web.no_such_thing")
        return copy

    async def _name(self, person_id: str, document: str) -> str:
        """Of the stored bytes: what is prepared for this signature, later what came of it."""
        copy = await self._copy(person_id, document)
        if copy.released is not None:
            return copy.released
        order_id = copy.seal_order or copy.certifier_order
        if order_id is None:
            raise Conflict("copy.awaits_nobody", copy=copy.id, state=copy.state)
        async with self._service.db.read() as uow:
            return (await self._service.copies.signing.orders.get(uow, order_id)).document


_TOLD: Final = 20
"""Copies that a long poll listens to: they are signed together, so the first ones speak for the rest."""
_BEHIND: Final = ("ready", "waiting", "approved", "cancelled", "signed")
"""Of many copies, the state that is said is the first of these that one of them is in."""


def _part(copy: CertifiedCopy, person_id: str) -> str:
    return "certifier" if copy.certifier_id == person_id else "clerk"


def _order(copy: CertifiedCopy) -> str:
    order_id = copy.certifier_order if copy.state == "awaiting_certifier" else copy.seal_order
    assert order_id is not None
    return order_id


def _state(copy: CertifiedCopy, person_id: str, answered: bool) -> str:
    part = _part(copy, person_id)
    if person_id not in {copy.certifier_id, copy.clerk_id}:
        raise Refused("copy.other_person", copy=copy.id)
    if copy.state == "voided":
        return "cancelled"
    if copy.state == _AWAITS[part]:
        return "approved" if answered else "ready"
    if copy.state == "numbered" or (part == "clerk" and copy.state in {"awaiting_certifier", "certified"}):
        return "waiting"
    if part == "clerk" and copy.state == "sealed":
        return "approved"
    return "signed"


def _title(copy: CertifiedCopy) -> str:
    number = str(copy.facts.get("original_number") or "")
    return f"{copy.facts['kind']} {number}".strip()
