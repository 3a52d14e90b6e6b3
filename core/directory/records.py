"""Tables of the directory and the few queries it needs."""

import datetime as dt
import json
from typing import Any

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, metadata, row_by
from core.directory.model import Agency, Authorisation, Person, Role
from core.errors import Conflict, NotFound, Refused
from core.ids import new_id
from core.values import Realm, Regime

__all__ = ["Directory"]

agency_table = sa.Table(
    "agency",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("valid_from", UtcDateTime, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.Column("successor_id", sa.String(26), sa.ForeignKey("agency.id")),
    sa.Column("wording", sa.JSON, nullable=False),
    sa.UniqueConstraint("realm", "code"),
    sa.CheckConstraint("realm in ('production', 'training')", name="realm"),
)
person_table = sa.Table(
    "person",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
authorisation_table = sa.Table(
    "authorisation",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("capacity", sa.Text, nullable=False),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("dated", UtcDateTime, nullable=False),
    sa.Column("valid_from", UtcDateTime, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.Column("scope", sa.Text, nullable=False),
    sa.CheckConstraint("role in ('certifier', 'clerk', 'administrator')", name="role"),
)


def _agency(row: sa.Row[Any]) -> Agency:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public spelling)
    return Agency(**{**values, "realm": Realm(row.realm)})


def _authorisation(row: sa.Row[Any]) -> Authorisation:
    values = dict(row._mapping)  # noqa: SLF001
    scope = frozenset(Regime(value) for value in json.loads(row.scope))
    return Authorisation(**{**values, "role": Role(row.role), "scope": scope})


_AGENCY = sa.select(agency_table).where(
    sa.or_(agency_table.c.code == sa.bindparam("which"), agency_table.c.id == sa.bindparam("which"))
)


class Directory:
    """Reads and writes the directory inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def add_agency(
        self,
        uow: UnitOfWork,
        *,
        realm: Realm,
        code: str,
        name: str,
        parent: str,
        wording: dict[str, object] | None = None,
    ) -> Agency:
        """A new agency, valid from now. Raises ``directory.agency_exists``."""
        known = await uow.execute(sa.select(agency_table.c.id).where(agency_table.c.code == code))
        if known.first() is not None:
            raise Conflict("directory.agency_exists", agency=code)
        agency = Agency(
            id=new_id(self._clock), realm=realm, code=code, name=name, parent=parent, valid_from=self._clock.now(),
            wording=wording or {},
        )  # fmt: skip
        values = {c.name: getattr(agency, c.name) for c in agency_table.columns}
        await uow.execute(agency_table.insert(), values)
        return agency

    async def agency(self, uow: UnitOfWork, code_or_id: str) -> Agency:
        """By code or id. Raises ``directory.no_such_agency``."""
        row = (await uow.execute(_AGENCY, {"which": code_or_id})).first()
        if row is None:
            raise NotFound("directory.no_such_agency", agency=code_or_id)
        return _agency(row)

    async def lock(self, uow: UnitOfWork, agency_id: str) -> None:
        """Until the transaction ends nobody else locks this agency (SQLite's writers are one at a time anyway)."""
        await uow.execute(sa.select(agency_table.c.id).where(agency_table.c.id == agency_id).with_for_update())

    async def agencies(self, uow: UnitOfWork) -> list[Agency]:
        """All, by code."""
        return [_agency(row) for row in await uow.execute(sa.select(agency_table).order_by(agency_table.c.code))]

    async def end_agency(self, uow: UnitOfWork, code: str, successor: str | None) -> None:
        """Close an agency now and name who continues its work."""
        after = await self.agency(uow, successor) if successor else None
        await uow.execute(
            agency_table.update()
            .where(agency_table.c.code == code)
            .values(valid_to=self._clock.now(), successor_id=after.id if after else None)
        )

    async def add_person(self, uow: UnitOfWork, agency: Agency, name: str) -> Person:
        """A new person of ``agency``."""
        person = Person(id=new_id(self._clock), realm=agency.realm, agency_id=agency.id, name=name)
        await uow.execute(
            person_table.insert(),
            {
                "id": person.id,
                "realm": person.realm,
                "agency_id": agency.id,
                "name": name,
                "created_at": self._clock.now(),
            },
        )
        return person

    async def person(self, uow: UnitOfWork, person_id: str) -> Person:
        """By id. Raises ``directory.no_such_person``."""
        row = (await uow.execute(row_by(person_table.c.id), {"value": person_id})).first()
        if row is None:
            raise NotFound("directory.no_such_person", person=person_id)
        return Person(id=row.id, realm=Realm(row.realm), agency_id=row.agency_id, name=row.name)

    async def people(self, uow: UnitOfWork, agency_id: str | None = None) -> list[tuple[Person, list[Authorisation]]]:
        """People with everything they are authorised to."""
        query = sa.select(person_table).order_by(person_table.c.id)
        if agency_id:
            query = query.where(person_table.c.agency_id == agency_id)
        found = []
        for row in (await uow.execute(query)).all():
            rights = sa.select(authorisation_table).where(authorisation_table.c.person_id == row.id)
            person = Person(id=row.id, realm=Realm(row.realm), agency_id=row.agency_id, name=row.name)
            found.append((person, [_authorisation(r) for r in await uow.execute(rights)]))
        return found

    async def authorise(
        self, uow: UnitOfWork, person: Person, role: Role, *, capacity: str, number: str, dated: dt.datetime,
        valid_from: dt.datetime, valid_to: dt.datetime | None, scope: frozenset[Regime],
    ) -> Authorisation:  # fmt: skip
        """Give ``person`` a role by a numbered instrument."""
        made = Authorisation(
            id=new_id(self._clock), person_id=person.id, agency_id=person.agency_id, role=role, capacity=capacity,
            number=number, dated=dated, valid_from=valid_from, valid_to=valid_to, scope=scope,
        )  # fmt: skip
        values = {c.name: getattr(made, c.name) for c in authorisation_table.columns}
        values["scope"] = json.dumps(sorted(scope))
        await uow.execute(authorisation_table.insert(), values)
        return made

    async def authorisation(
        self, uow: UnitOfWork, person_id: str, agency_id: str, role: Role, regime: Regime
    ) -> Authorisation:
        """The one that holds now. Raises ``directory.wrong_role`` or what ``Authorisation.require`` raises."""
        t = authorisation_table.c
        query = sa.select(authorisation_table).where(
            t.person_id == person_id, t.agency_id == agency_id, t.role == role
        ).order_by(t.valid_from.desc())  # fmt: skip
        rows = [_authorisation(row) for row in await uow.execute(query)]
        if not rows:
            raise Refused("directory.wrong_role", role=role)
        refusal: Refused | None = None
        for row in rows:
            try:
                row.require(regime, self._clock.now())
            except Refused as error:
                refusal = refusal or error
            else:
                return row
        assert refusal is not None
        raise refusal

    async def right(self, uow: UnitOfWork, authorisation_id: str) -> Authorisation:
        """By id. Raises ``directory.no_such_authorisation``."""
        row = (await uow.execute(row_by(authorisation_table.c.id), {"value": authorisation_id})).first()
        if row is None:
            raise NotFound("directory.no_such_authorisation", authorisation=authorisation_id)
        return _authorisation(row)

    async def holders(
        self, uow: UnitOfWork, agency_id: str, role: Role, at: dt.datetime, *, lock: bool = False
    ) -> frozenset[str]:
        """Ids of the people whose authorisation to ``role`` runs at ``at``.

        With ``lock`` nobody else who locks the same decides meanwhile: rows are taken in the order of their ids.
        """
        t = authorisation_table.c
        query = sa.select(authorisation_table).where(t.agency_id == agency_id, t.role == role).order_by(t.id)
        rows = await uow.execute(query.with_for_update() if lock else query)
        return frozenset(right.person_id for right in map(_authorisation, rows) if right.runs(at))

    async def end_authorisation(self, uow: UnitOfWork, authorisation_id: str, at: dt.datetime) -> None:
        """Its term ends at ``at``; a term is only ever made shorter. Raises ``directory.already_ended``."""
        t = authorisation_table.c
        longer = sa.or_(t.valid_to.is_(None), t.valid_to > at)
        done = await uow.execute(
            authorisation_table.update().where(t.id == authorisation_id, longer).values(valid_to=at)
        )
        if done.rowcount != 1:
            raise Conflict("directory.already_ended", authorisation=authorisation_id)

    async def set_wording(self, uow: UnitOfWork, agency_id: str, wording: dict[str, Any]) -> None:
        """From now on; what was printed before keeps its own."""
        await uow.execute(agency_table.update().where(agency_table.c.id == agency_id).values(wording=wording))
