"""Tables of decisions and the steps between their states, each by compare-and-swap in the caller's transaction.

``open → applied | refused | expired``. What is settled changes no more (a trigger refuses), a vote is never taken back or
given twice (its key is decision and person), and a ballot is answered once.
"""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from core.approvals.model import Ballot, Decision, DecisionRecord, Vote
from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, append_only, insert_new, metadata, row_by, swap_state
from core.errors import BadInput, Broken, Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.values import Realm

__all__ = ["Approvals", "ballot_table", "decision_table", "vote_table"]

decision_table = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("proposed_by", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("votes", sa.Integer, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("refused_by", sa.String(26), sa.ForeignKey("person.id")),
    sa.Column("reason", sa.Text),
    sa.Column("outcome", sa.JSON(none_as_null=True)),
    sa.Index("ix_decision_agency_id_id", "agency_id", "id"),
    sa.Index("ix_decision_state_expires_at", "state", "expires_at"),
    sa.CheckConstraint("state in ('open', 'applied', 'refused', 'expired')", name="state"),
)
append_only(
    decision_table,
    may_change=("state", "votes", "settled_at", "refused_by", "reason", "outcome"),
    final=("applied", "refused", "expired"),
)
ballot_table = sa.Table(
    "decision_ballot",
    metadata,
    sa.Column("tx", sa.String(26), primary_key=True),
    sa.Column("decision_id", sa.String(26), sa.ForeignKey("decision.id"), nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Index("ix_decision_ballot_decision_id_person_id", "decision_id", "person_id"),
    sa.CheckConstraint("state in ('open', 'used')", name="state"),
)
append_only(ballot_table, may_change=("state",), final=("used",))
vote_table = sa.Table(
    "decision_vote",
    metadata,
    sa.Column("decision_id", sa.String(26), sa.ForeignKey("decision.id"), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("ballot", sa.LargeBinary, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("given_at", UtcDateTime, nullable=False),
)
append_only(vote_table)

_FRESH = dt.timedelta(seconds=60)
"""A ballot with less time than that is not handed out again."""


def _decision(row: sa.Row[Any]) -> Decision:
    return Decision(**{**row._mapping, "realm": Realm(row.realm)})  # noqa: SLF001 (SQLAlchemy's public spelling)


class Approvals:
    """Proposals, ballots and votes. Who may vote is the caller's business."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    # --------------------------------------------------------------------------------------------------- proposals
    async def propose(
        self, uow: UnitOfWork, *, realm: Realm, agency_id: str, kind: str, payload: dict[str, Any], proposed_by: str
    ) -> Decision:
        """Write down what is proposed; it gives nothing yet. Raises ``decision.too_many``, ``decision.malformed``."""
        t = decision_table.c
        now = self._clock.now()
        mine = t.agency_id == agency_id, t.state == "open", t.expires_at > now
        count = (await uow.execute(sa.select(sa.func.count()).where(*mine))).scalar_one()
        if count >= LIMITS["decision.open"]:
            raise Refused("decision.too_many", most=LIMITS["decision.open"])
        expires = int(now.timestamp()) + 3600 * LIMITS["decision.hours"]
        content = DecisionRecord(
            id=new_id(self._clock), agency_id=agency_id, kind=kind, payload=payload, proposed_by=proposed_by,
            expires=expires, realm=realm, nonce=random_bytes(32),
        )  # fmt: skip
        try:
            record = content.encode()
        except (ValueError, RecursionError) as error:
            raise BadInput("decision.malformed") from error
        made = Decision(
            id=content.id, realm=realm, agency_id=agency_id, kind=kind, record=record, proposed_by=proposed_by,
            created_at=now, expires_at=dt.datetime.fromtimestamp(expires, dt.UTC), state="open", votes=0,
            salt=random_bytes(32),
        )  # fmt: skip
        await uow.execute(decision_table.insert(), {c.name: getattr(made, c.name) for c in decision_table.columns})
        return made

    async def get(self, uow: UnitOfWork, decision_id: str) -> Decision:
        """By id. Raises ``decision.unknown``, ``decision.record_changed``."""
        row = (await uow.execute(row_by(decision_table.c.id), {"value": decision_id})).first()
        if row is None:
            raise NotFound("decision.unknown")
        found = _decision(row)
        try:
            content = found.content
        except ValueError as error:
            raise Broken("decision.record_changed", decision=decision_id) from error
        # a record copied into another row would make one approval count for two
        if (content.id, content.agency_id, content.kind) != (found.id, found.agency_id, found.kind):
            raise Broken("decision.record_changed", decision=decision_id)
        return found

    async def of(self, uow: UnitOfWork, agency_id: str, limit: int) -> list[Decision]:
        """An agency's, newest first."""
        t = decision_table.c
        query = sa.select(decision_table).where(t.agency_id == agency_id).order_by(t.id.desc()).limit(limit)
        return [_decision(row) for row in await uow.execute(query)]

    def state(self, decision: Decision) -> str:
        """As it stands now: one whose time ran out is ``expired`` whether or not somebody wrote that down yet."""
        late = decision.state == "open" and self._clock.now() >= decision.expires_at
        return "expired" if late else decision.state

    def require_open(self, decision: Decision) -> None:
        """Raises ``decision.not_open``, ``decision.expired``."""
        state = self.state(decision)
        if state == "expired":
            raise Refused("decision.expired")
        if state != "open":
            raise Conflict("decision.not_open", state=state)

    # ------------------------------------------------------------------------------------------------------ ballots
    async def ask(self, uow: UnitOfWork, decision: Decision, voter: str) -> Ballot:
        """The voter's ballot, a fresh one where the last was answered or ends soon. Raises what ``require_open`` raises."""
        self.require_open(decision)
        now = self._clock.now()
        t = ballot_table.c
        known = (
            sa.select(ballot_table)
            .where(t.decision_id == decision.id, t.person_id == voter, t.state == "open", t.expires_at > now + _FRESH)
            .order_by(t.tx.desc())
            .limit(1)
        )
        row = (await uow.execute(known)).first()
        if row is not None:
            return Ballot.decode(row.record)
        expires = min(int(now.timestamp()) + LIMITS["decision.ballot_seconds"], decision.content.expires)
        made = Ballot(
            tx=new_id(self._clock), decision_id=decision.id, voter=voter, expires=expires, nonce=random_bytes(32)
        )
        await uow.execute(
            ballot_table.insert(),
            {
                "tx": made.tx, "decision_id": decision.id, "person_id": voter, "record": made.encode(),
                "expires_at": dt.datetime.fromtimestamp(expires, dt.UTC), "state": "open",
            },
        )  # fmt: skip
        return made

    async def ballot(self, uow: UnitOfWork, decision: Decision, voter: str, tx: str) -> Ballot:
        """Of this decision and this voter. Raises ``decision.no_such_ballot``, ``decision.ballot_used``, ``decision.ballot_expired``."""
        row = (await uow.execute(row_by(ballot_table.c.tx), {"value": tx})).first()
        if row is None or (row.decision_id, row.person_id) != (decision.id, voter):
            raise NotFound("decision.no_such_ballot")
        found = Ballot.decode(row.record)
        if (found.tx, found.decision_id, found.voter) != (tx, decision.id, voter):
            raise Broken("decision.record_changed", decision=decision.id)
        if row.state != "open":
            raise Conflict("decision.ballot_used")
        if self._clock.now().timestamp() >= found.expires:
            raise Refused("decision.ballot_expired")
        return found

    # -------------------------------------------------------------------------------------------------------- votes
    async def cast(self, uow: UnitOfWork, decision: Decision, ballot: Ballot, evidence: dict[str, Any]) -> Vote:
        """Count a yes once. ``decision`` as it was read in this transaction.

        Raises ``decision.ballot_used``, ``decision.voted``, ``decision.moved`` (somebody else was first).
        """
        if not await swap_state(uow, ballot_table.c.tx, ballot.tx, "open", "used"):
            raise Conflict("decision.ballot_used")
        vote = Vote(
            decision_id=decision.id, person_id=ballot.voter, ballot=ballot.encode(), evidence=evidence,
            given_at=self._clock.now(),
        )  # fmt: skip
        values = {c.name: getattr(vote, c.name) for c in vote_table.columns}
        if (await uow.execute(insert_new(uow, vote_table), values)).rowcount != 1:
            raise Conflict("decision.voted")
        t = decision_table.c
        mine = t.id == decision.id, t.state == "open", t.votes == decision.votes, t.expires_at > self._clock.now()
        done = await uow.execute(decision_table.update().where(*mine).values(votes=decision.votes + 1))
        if done.rowcount != 1:
            raise Conflict("decision.moved")
        return vote

    async def votes(self, uow: UnitOfWork, decision_id: str) -> list[Vote]:
        """Every yes, in the order of time; whether it still counts is the caller's business."""
        t = vote_table.c
        query = sa.select(vote_table).where(t.decision_id == decision_id).order_by(t.given_at, t.person_id)
        return [Vote(**row._mapping) for row in await uow.execute(query)]  # noqa: SLF001

    # ------------------------------------------------------------------------------------------------------ endings
    async def apply(self, uow: UnitOfWork, decision: Decision, outcome: dict[str, Any]) -> None:
        """``open → applied`` in the transaction that does it. Raises ``decision.moved``."""
        settled = {"settled_at": self._clock.now(), "outcome": outcome}
        if not await swap_state(uow, decision_table.c.id, decision.id, "open", "applied", **settled):
            raise Conflict("decision.moved")

    async def refuse(self, uow: UnitOfWork, decision: Decision, person_id: str, reason: str) -> None:
        """``open → refused``; one is enough. Raises ``decision.no_reason``, ``decision.moved``, what ``require_open`` raises."""
        said = " ".join(reason.split())
        if not said or len(said) > LIMITS["decision.reason_letters"]:
            raise BadInput("decision.no_reason", most=LIMITS["decision.reason_letters"])
        self.require_open(decision)
        settled = {"settled_at": self._clock.now(), "refused_by": person_id, "reason": said}
        if not await swap_state(uow, decision_table.c.id, decision.id, "open", "refused", **settled):
            raise Conflict("decision.moved")

    async def expire(self, uow: UnitOfWork) -> int:
        """Write down of every decision whose time ran out that it did; returns how many."""
        now = self._clock.now()
        t = decision_table.c
        late = decision_table.update().where(t.state == "open", t.expires_at <= now)
        return int((await uow.execute(late.values(state="expired", settled_at=now))).rowcount)
