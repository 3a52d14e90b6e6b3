"""A decision of an agency's administrators, as the signing page sees it: words, and a sample where something is printed."""

import datetime as dt
from typing import Final

from api.bootstrap import Service
from api.sign.shown import Described, File, Paper, Shown, Standing
from core.errors import NotFound, Refused
from signer.activation.passkeys import Assertion
from signer.decisions.desk import Decisions
from signer.decisions.templates import ChangeSeal, ChangeWording
from signer.links import Link

__all__ = ["DecisionMatter"]

_WORDS, _SAMPLE = "words", "sample"
_PRINTED: Final = frozenset({ChangeWording.name, ChangeSeal.name})


class DecisionMatter:
    """One administrator's voice."""

    kind = "decision"

    def __init__(self, service: Service, link: Link) -> None:
        self._service, self._decision = service, link.subject[0]

    async def describe(self) -> Described:
        """The agency alone: what is decided may concern a person."""
        decision = await self._desk.decision(self._decision)
        async with self._service.db.read() as uow:
            agency = await self._service.directory.agency(uow, decision.agency_id)
        return Described(
            kind="sign.kind.decision", portal="", agency=agency.name, deadline=decision.expires_at
        )  # fmt: skip

    async def show(self, person_id: str) -> Shown:
        """Every change before and after; the person's own question. Raises ``decision.*``."""
        asked = await self._desk.question(self._decision, person_id)
        decision = await self._desk.decision(self._decision)
        async with self._service.db.read() as uow:
            agency = await self._service.directory.agency(uow, decision.agency_id)
        title = asked.words[0][1]
        papers = [Paper(id=_WORDS, title=title, kind="text", text=tuple(asked.words))]
        if decision.kind in _PRINTED:
            papers.append(Paper(id=_SAMPLE, title=title, kind="pdf", pages=1))
        return Shown(
            title=title, reason="", portal="", agency=agency.name, documents=tuple(papers),
            consequences=("sign.then.decision",), tx=asked.tx, challenge=asked.challenge,
            expires=dt.datetime.fromtimestamp(asked.expires, dt.UTC), decides=True,
        )  # fmt: skip

    async def pages(self, person_id: str, document: str) -> int:
        """Of the sample."""
        await self._require(person_id, document)
        return 1

    async def page(self, person_id: str, document: str, page: int, width: int) -> bytes:
        """What would be printed afterwards."""
        await self._require(person_id, document)
        picture = await self._desk.picture(self._decision, width) if page == 0 else None
        if picture is None:
            raise NotFound("web.no_such_thing")
        return picture

    async def text(self, person_id: str, document: str, page: int) -> str:
        """The sample's words are those of the decision."""
        await self._require(person_id, document)
        return ""

    async def approve(self, person_id: str, tx: str, assertion: Assertion) -> None:
        """A yes; with the second one the thing is done. Raises ``decision.*``, ``activation.*``."""
        await self._desk.approve(self._decision, person_id, tx, assertion)

    async def start(self, person_id: str) -> None:
        """No provider decides anything. Raises ``request.no_provider``."""
        raise Refused("request.no_provider")

    async def refuse(self, person_id: str, reason: str) -> None:
        """One no ends it. Raises ``decision.*``."""
        await self._desk.refuse(self._decision, person_id, reason)

    async def status(self, person_id: str, seconds: float) -> Standing:
        """At once: nothing here happens by itself."""
        standing = await self._desk.status(self._decision)
        decision = await self._desk.decision(self._decision)
        mine = "counted" if person_id in standing.voted else "open"
        state = {"open": mine, "refused": "declined", "expired": "lapsed"}.get(standing.state, standing.state)
        return Standing(
            state=state, why=decision.reason or "", return_url=f"{self._service.settings.url}/desk/admin"
        )  # fmt: skip

    async def file(self, person_id: str, document: str) -> File:
        """There is none. Raises ``sign.no_file``."""
        raise NotFound("sign.no_file")

    async def _require(self, person_id: str, document: str) -> None:
        """The sample, for somebody who has a voice here."""
        if document != _SAMPLE:
            raise NotFound("web.no_such_thing")
        async with self._service.db.write() as uow:
            await self._desk.require_voter(uow, self._decision, person_id)

    @property
    def _desk(self) -> Decisions:
        return self._service.parts().decisions
