"""A step of a signature request, as the signing page sees it."""

import datetime as dt
from typing import Final

from api.bootstrap import Service
from api.sign.shown import Described, File, Paper, Seal, Shown, Signer, Standing
from core.certificates import Certificate
from core.db import UnitOfWork
from core.errors import Conflict, NotFound
from signer.activation.passkeys import Assertion
from signer.links import Link
from signer.papers import PageCache
from signer.requests import store
from signer.requests.desk import RequestDesk
from signer.requests.model import RequestDocument, RequestStep, RequestView

__all__ = ["StepMatter"]

_CONSEQUENCES: Final = {
    "citizen": ("sign.then.yours", "sign.then.kept", "sign.then.told"),
    "official": ("sign.then.office", "sign.then.kept", "sign.then.told"),
    "seal": ("sign.then.seal", "sign.then.kept", "sign.then.told"),
}
_ENDED: Final = frozenset({"refused", "cancelled", "expired", "failed"})
_MEDIA: Final = {"pdf": ("application/pdf", "pdf"), "digest": ("application/pkcs7-signature", "p7s")}


class StepMatter:
    """One person's signature in a request."""

    kind = "step"

    def __init__(self, service: Service, link: Link) -> None:
        self._service, self._step = service, link.subject[0]

    async def describe(self) -> Described:
        """The portal's name, the agency's, what kind of signature, until when."""
        async with self._service.db.read() as uow:
            view = await store.of_step(uow, self._step)
            agency = await self._service.directory.agency(uow, view.agency_id)
        return Described(
            kind=f"sign.kind.{view.step(self._step).kind}", portal=view.client_name, agency=agency.name,
            deadline=view.deadline,
        )  # fmt: skip

    async def show(self, person_id: str) -> Shown:
        """Opens the step: from now on this revision is this person's for some minutes. Raises ``request.*``."""
        opened = await self._desk.open(self._step, person_id)
        async with self._service.db.read() as uow:
            view = await store.of_step(uow, self._step)
            agency = await self._service.directory.agency(uow, view.agency_id)
            earlier = await self._earlier(uow, view)
            seal = None
            if opened.record is not None:
                credential = await self._service.credentials.get(uow, opened.record.credential)
                assert credential.certificate is not None
                seal = Seal.of(Certificate.parse(credential.certificate))
        step = view.step(self._step)
        return Shown(
            title=view.title, reason=view.reason, portal=view.client_name, agency=agency.name,
            documents=tuple(_paper(each) for each in opened.documents), earlier=earlier,
            changed=sum(each.state == "signed" for each in view.wanted), signs_as=seal,
            consequences=_CONSEQUENCES[step.kind], code=opened.code, tx=opened.tx, challenge=opened.challenge,
            expires=opened.expires, provider=step.provider, handed_over=step.provider is not None and step.state == "open",
        )  # fmt: skip

    async def _earlier(self, uow: UnitOfWork, view: RequestView) -> tuple[Signer, ...]:
        """Whoever signed before it came here, as the file says, then whoever signed here."""
        found = [
            Signer(name=str(each["signer"]), signed_at=_moment(each["signed_at"]))
            for document in view.documents[:1]
            for each in document.facts.get("signatures", ())
        ]
        signed = sorted(
            (step for step in view.wanted if step.signed_at is not None), key=lambda step: str(step.signed_at)
        )
        for step in signed:
            if step.kind == "seal":
                name = (await self._service.directory.agency(uow, view.agency_id)).name
            else:
                name = (await self._service.directory.person(uow, step.person_id)).name
            found.append(Signer(name=name, signed_at=step.signed_at))
        return tuple(found)

    async def pages(self, person_id: str, document: str) -> int:
        """How many pages it has."""
        return (await self._document(person_id, document))[0].pages

    async def page(self, person_id: str, document: str, page: int, width: int) -> bytes:
        """Of exactly the bytes that are signed, once the step is open."""
        return await self._pages.image(await self._bytes_name(person_id, document), page, width)

    async def text(self, person_id: str, document: str, page: int) -> str:
        """The page as words."""
        return await self._pages.text(await self._bytes_name(person_id, document), page)

    async def approve(self, person_id: str, tx: str, assertion: Assertion) -> None:
        """Verified where the key is; the ceremony then goes on by itself."""
        await self._desk.approve(self._step, person_id, tx, assertion)

    async def start(self, person_id: str) -> None:
        """The provider's app asks the person. Raises ``request.*``, ``provider.*``."""
        await self._desk.start_provider(self._step, person_id)

    async def refuse(self, person_id: str, reason: str) -> None:
        """The step, and with it the request, ends with the person's reason."""
        await self._desk.refuse(self._step, person_id, reason)

    async def status(self, person_id: str, seconds: float) -> Standing:
        """After the step has come to rest, or the time is up."""
        if seconds > 0:
            await self._desk.rest(self._step, seconds)
        async with self._service.db.read() as uow:
            view = await store.of_step(uow, self._step)
        step = _own(view, self._step, person_id)
        problem = step.problem or view.problem
        if step.state == "signed" and view.state in _ENDED:
            problem = "sign.ended_without"
        elif step.state == "signed" and view.state == "open":
            problem = "sign.pending"
        return Standing(
            state=self._state(view, step), why=step.why or view.why or "", problem=problem, return_url=view.return_url,
            files=tuple((each.id, each.title) for each in view.documents if _file_of(view, step, each) is not None),
        )  # fmt: skip

    def _state(self, view: RequestView, step: RequestStep) -> str:
        if view.state in _ENDED and step.state not in {"signed", "replaced"}:
            return view.state
        if step.state == "signed" and view.state == "open" and view.all_signed:
            return "approved"  # the last signature is made; the files are finished and looked at once more
        if step.state in {"ready", "open"} and view.exclusive:
            now = self._service.clock.now()
            if any(each.leased(now) for each in view.wanted if each.id != step.id):
                return "busy"
        return step.state

    async def file(self, person_id: str, document: str) -> File:
        """The finished file, once all have signed. Raises ``sign.no_file``."""
        found, step, view = await self._document(person_id, document)
        name = _file_of(view, step, found)
        if name is None:
            raise Conflict("sign.no_file")
        media_type, ending = _MEDIA[found.kind]
        data = await self._service.documents.get(name)
        return File(data=data, media_type=media_type, name=f"{found.position + 1}-{found.id}.{ending}")

    # ------------------------------------------------------------------------------------------------ what is read
    async def _document(self, person_id: str, document: str) -> tuple[RequestDocument, RequestStep, RequestView]:
        async with self._service.db.read() as uow:
            view = await store.of_step(uow, self._step)
        step = _own(view, self._step, person_id)
        for each in view.documents:
            if each.id == document:
                return each, step, view
        raise NotFound("web.no_such_thing")

    async def _bytes_name(self, person_id: str, document: str) -> str:
        """Of the stored bytes to look at: those prepared for this very signature, else the newest revision."""
        found, step, _ = await self._document(person_id, document)
        if found.kind != "pdf":
            raise NotFound("web.no_such_thing")
        if step.state in {"open", "approved"} and step.orders:
            async with self._service.db.read() as uow:
                order = await self._service.copies.signing.orders.get(uow, step.orders[found.position])
            return order.document
        name = found.released or found.current or found.original
        assert name is not None
        return name

    @property
    def _pages(self) -> PageCache:
        return self._service.parts().pages

    @property
    def _desk(self) -> RequestDesk:
        return self._service.parts().requests


def _own(view: RequestView, step_id: str, person_id: str) -> RequestStep:
    """The link names step and person alike; they are compared once more."""
    step = view.step(step_id)
    if step.person_id != person_id:
        raise NotFound("web.no_such_thing")
    return step


def _file_of(view: RequestView, step: RequestStep, document: RequestDocument) -> str | None:
    """Name of the bytes that may be given out: nothing of a request that others have not signed or that was ended."""
    return document.released if step.state == "signed" and view.state == "completed" else None


def _paper(document: RequestDocument) -> Paper:
    digest = document.digest.hex() if document.digest is not None else ""
    return Paper(
        id=document.id, title=document.title, kind=document.kind, pages=document.pages, digest=digest,
        warnings=tuple(document.facts.get("warnings", ())),
    )  # fmt: skip


def _moment(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
