"""The desk of decisions: propose, ask, agree or refuse, and do it with the second yes.

1 *propose* writes down what is to be decided. It gives nothing, so the web process may ask for it.
2 *question* a voter's own ballot; its challenge covers the decision's bytes and the ballot's.
3 *approve* one transaction: the answer is verified here, the earlier yes is looked at again, and with the second that
  counts the thing is done, its leaf is in the log, and the state has moved. A crash or a refusal anywhere in it leaves
  everything as it was before this answer.

Voters of one agency take turns on the rows of its administrators, so two last votes at once, a vote and a refusal, or a
vote and the end of the time have one effect; compare-and-swap on state and count proves it where turns would not.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from audit.events import Leaf, LeafType, commit
from audit.log import Log
from core.approvals.model import QUORUM, Decision, Vote
from core.approvals.records import Approvals
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.model import Agency, Role
from core.errors import NotFound, Refused, ServiceError
from core.limits import LIMITS
from core.logs import logger
from core.values import Realm, Regime
from signer.activation.passkeys import Assertion, RelyingParty
from signer.decisions import evidence
from signer.decisions.kinds import kind_of
from signer.decisions.preview import page_picture
from signer.decisions.room import Room, Words, both
from signer.decisions.templates import ChangeSeal, ChangeWording, picture_of

__all__ = ["Decisions", "Question", "Standing", "picture_of_decision", "words_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a voter reads and answers."""

    tx: str
    challenge: bytes
    words: Words
    expires: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a decision stands."""

    state: str
    """``open``, ``applied``, ``refused`` or ``expired``."""
    voted: tuple[str, ...]
    """Ids of the administrators whose yes counts now."""
    needed: int
    outcome: dict[str, Any]


async def words_of(uow: UnitOfWork, room: Room, decision: Decision) -> Words:
    """What a decision says, for people: who proposes what for which agency, and each change before and after."""
    agency = await room.directory.agency(uow, decision.agency_id)
    proposer = await room.directory.person(uow, decision.proposed_by)
    return [
        (both("decision.w_kind"), both(f"decision.kind_{decision.kind.replace('.', '_')}")),
        (both("decision.w_agency"), agency.name),
        (both("decision.w_proposed_by"), proposer.name),
        *await kind_of(decision.kind).words(uow, room, agency, decision.payload),
    ]


async def picture_of_decision(db: Database, room: Room, decision: Decision, width: int) -> bytes | None:
    """A sample of what would be printed, ``width`` pixels wide, WebP; None where nothing printed changes."""
    async with db.read() as uow:
        agency = await room.directory.agency(uow, decision.agency_id)
        seal = await picture_of(uow, agency.id)
    change = decision.payload
    if decision.kind == ChangeWording.name:
        wording = {**agency.wording, **change["after"]}
    elif decision.kind == ChangeSeal.name:
        seal, wording = change["document"], {**agency.wording, "seal_diameter_mm": change["tenths"] / 10}
    else:
        return None
    return await page_picture(room, agency, wording, seal, Regime.CERTIFIED_COPY, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Signer role only."""

    db: Database
    clock: Clock
    realm: Realm
    log: Log
    relying_party: RelyingParty
    room: Room

    @property
    def approvals(self) -> Approvals:
        """The tables."""
        return Approvals(self.clock)

    # --------------------------------------------------------------------------------------------------- proposing
    async def propose(self, *, agency_id: str, kind: str, payload: dict[str, Any], proposed_by: str) -> str:
        """A new proposal's id. Raises ``decision.not_administrator``, ``decision.too_many`` and what the kind raises."""
        what = kind_of(kind)
        async with self.db.read() as uow:  # before anything costs something
            await self._require_administrator(uow, await self._agency(uow, agency_id), proposed_by)
        await what.examine(self.room, payload)
        async with self.db.write() as uow:
            agency = await self._agency(uow, agency_id)
            await self._require_administrator(uow, agency, proposed_by, lock=True)
            complete = await what.complete(uow, self.room, agency, payload)
            made = await self.approvals.propose(
                uow, realm=self.realm, agency_id=agency.id, kind=kind, payload=complete, proposed_by=proposed_by
            )
        return made.id

    # ------------------------------------------------------------------------------------------------------- voting
    async def question(self, decision_id: str, person_id: str) -> Question:
        """A voter's own question; the same one while it stands.

        Raises ``decision.unknown``, ``decision.not_open``, ``decision.expired``, ``decision.not_administrator``,
        ``decision.own_matter``, ``decision.voted``.
        """
        async with self.db.write() as uow:
            decision, _ = await self._turn(uow, decision_id, person_id)
            if any(vote.person_id == person_id for vote in await self.approvals.votes(uow, decision.id)):
                raise Refused("decision.voted")
            ballot = await self.approvals.ask(uow, decision, person_id)
            words = await words_of(uow, self.room, decision)
        return Question(
            tx=ballot.tx, challenge=ballot.challenge(decision.record), words=words, expires=ballot.expires
        )  # fmt: skip

    async def approve(self, decision_id: str, person_id: str, tx: str, assertion: Assertion) -> Standing:
        """Count a yes; with the second that counts, do it. Raises ``decision.*``, ``activation.*`` and what doing it raises."""
        async with self.db.write() as uow:
            decision, agency = await self._turn(uow, decision_id, person_id)
            ballot = await self.approvals.ballot(uow, decision, person_id, tx)
            proof = await evidence.accepted(uow, self.relying_party, decision, ballot, assertion)
            earlier = await self._counting(uow, decision, agency)
            vote = await self.approvals.cast(uow, decision, ballot, proof)
            counted = [*earlier, vote]
            if len(counted) >= QUORUM:
                await self._apply(uow, decision, agency, counted)
        if len(counted) >= QUORUM:
            await self._publish()
        return await self.status(decision_id)

    async def refuse(self, decision_id: str, person_id: str, reason: str) -> None:
        """One refusal ends it, whoever has agreed before. Raises as ``question`` does, ``decision.no_reason``."""
        async with self.db.write() as uow:
            decision, _ = await self._turn(uow, decision_id, person_id)
            await self.approvals.refuse(uow, decision, person_id, reason)

    async def _apply(self, uow: UnitOfWork, decision: Decision, agency: Agency, counted: list[Vote]) -> None:
        outcome = await kind_of(decision.kind).apply(uow, self.room, agency, decision)
        await self.approvals.apply(uow, decision, {**outcome, "voters": [vote.person_id for vote in counted]})
        await self.log.append(uow, self._leaf(decision, counted))

    def _leaf(self, decision: Decision, counted: list[Vote]) -> Leaf:
        votes = evidence.file_of(decision, counted)["votes"]
        digest = evidence.digest_of(decision.record, votes)
        return Leaf(
            type=LeafType.DECISION_APPLIED, time=self.clock.now(), tenant_id=decision.realm.value,
            event_id=f"{decision.id}.{LeafType.DECISION_APPLIED.value}", doc_commit=commit(decision.salt, digest.value),
            digest_alg=digest.algorithm.value,
        )  # fmt: skip

    async def _publish(self) -> None:
        """The leaf is durable with the decision; the next who writes publishes it where this fails."""
        try:
            await self.log.sequence()
        except ServiceError as error:
            logger().warning("decision.not_published", code=error.code)

    # ------------------------------------------------------------------------------------------------------ looking
    async def status(self, decision_id: str) -> Standing:
        """Where it stands now. Raises ``decision.unknown``."""
        async with self.db.read() as uow:
            decision = await self.approvals.get(uow, decision_id)
            if decision.state == "applied":
                voted = tuple((decision.outcome or {}).get("voters", ()))
            else:
                agency = await self.room.directory.agency(uow, decision.agency_id)
                voted = tuple(vote.person_id for vote in await self._counting(uow, decision, agency))
        outcome = {k: v for k, v in (decision.outcome or {}).items() if k != "voters"}
        return Standing(state=self.approvals.state(decision), voted=voted, needed=QUORUM, outcome=outcome)

    async def decision(self, decision_id: str) -> Decision:
        """By id. Raises ``decision.unknown``."""
        async with self.db.read() as uow:
            return await self.approvals.get(uow, decision_id)

    async def require_voter(self, uow: UnitOfWork, decision_id: str, person_id: str) -> Decision:
        """An open decision in which the person has a voice. Raises as ``question`` does."""
        return (await self._turn(uow, decision_id, person_id))[0]

    async def evidence(self, decision_id: str) -> dict[str, Any]:
        """A file that proves an applied decision (``signer.decisions.evidence.verify_evidence``). Raises ``decision.not_open``."""
        async with self.db.read() as uow:
            decision = await self.approvals.get(uow, decision_id)
            if decision.state != "applied":
                raise NotFound("decision.unknown")
            counted = set((decision.outcome or {}).get("voters", ()))
            votes = [vote for vote in await self.approvals.votes(uow, decision_id) if vote.person_id in counted]
        return evidence.file_of(decision, votes)

    async def picture(self, decision_id: str, width: int = 1000) -> bytes | None:
        """The printed page as it would be afterwards, WebP; None where nothing printed changes. Raises ``decision.unknown``."""
        return await picture_of_decision(self.db, self.room, await self.decision(decision_id), width)

    async def serve(self) -> None:
        """Write down what has expired, until cancelled; who votes meanwhile is refused by the time itself."""
        while True:
            try:
                async with self.db.write() as uow:
                    await self.approvals.expire(uow)
            except ServiceError as error:
                logger().warning("decision.not_swept", code=error.code)
            await asyncio.sleep(LIMITS["decision.look_seconds"])

    # ------------------------------------------------------------------------------------------------------- rights
    async def _agency(self, uow: UnitOfWork, agency_id: str) -> Agency:
        agency = await self.room.directory.agency(uow, agency_id)
        if agency.realm is not self.realm:
            raise NotFound("directory.no_such_agency", agency=agency_id)
        agency.require_active(self.clock.now())
        return agency

    async def _require_administrator(
        self, uow: UnitOfWork, agency: Agency, person_id: str, *, lock: bool = False
    ) -> None:
        now = self.clock.now()
        if person_id not in await self.room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, now, lock=lock):
            raise Refused("decision.not_administrator")

    async def _turn(self, uow: UnitOfWork, decision_id: str, person_id: str) -> tuple[Decision, Agency]:
        """Wait for one's turn among the agency's voters, then read everything as it stands."""
        first = await self.approvals.get(uow, decision_id)
        if first.realm is not self.realm:
            raise NotFound("decision.unknown")
        await self.room.directory.holders(uow, first.agency_id, Role.ADMINISTRATOR, self.clock.now(), lock=True)
        decision = await self.approvals.get(uow, decision_id)
        agency = await self._agency(uow, decision.agency_id)
        await self._require_administrator(uow, agency, person_id)
        self.approvals.require_open(decision)
        if kind_of(decision.kind).subject(decision.payload) == person_id:
            raise Refused("decision.own_matter")
        return decision, agency

    async def _counting(self, uow: UnitOfWork, decision: Decision, agency: Agency) -> list[Vote]:
        """Yes that counts now: its voter still is an administrator with a voice, its passkey still is that person's."""
        administrators = await self.room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, self.clock.now())
        subject = kind_of(decision.kind).subject(decision.payload)
        return [
            vote for vote in await self.approvals.votes(uow, decision.id)
            if vote.person_id in administrators and vote.person_id != subject
            and await evidence.still_counts(uow, self.relying_party, decision, vote)
        ]  # fmt: skip
