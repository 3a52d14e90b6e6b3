"""Sessions of the desk: who is signed in, on which device, and whether the page is locked.

A session is a random token; its SHA-256 is kept. Every log-in and every unlock makes a new token, so a token that somebody
planted or saw before is worth nothing afterwards. It is bound to the device: a second cookie of its own and the browser's
family; a session cookie alone (from a log, a backup, a copied request) opens nothing. Whoever copies the whole browser
still gets in until the idle lock; a key is used only with a passkey on the signing origin.
"""

import base64
import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import sqlalchemy as sa
from fastapi import Request, Response
from starlette.types import Scope

from api.desk.records import session_table
from core.clock import Clock
from core.db import UnitOfWork, row_by
from core.directory.model import Agency, Role
from core.directory.records import Directory, authorisation_table
from core.errors import NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.settings import Settings
from core.values import Realm
from signer.enrolment.desk_stops import stopped_at

__all__ = [
    "Cookies",
    "DeskPerson",
    "OpenSession",
    "Sessions",
    "desk_person",
    "device_words",
    "known_session",
    "new_token",
    "require_own_page",
]

_FAMILIES: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip
_TOKEN: Final = re.compile(r"^[A-Za-z0-9_-]{43}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPerson:
    """Who is at the desk in one request."""

    person_id: str
    name: str
    agency: Agency
    roles: frozenset[Role]
    """Those whose authorisation runs now."""
    session_id: str
    passkey_id: str
    verified_at: dt.datetime
    """When the log-in passkey was last used in this session."""
    locked: bool = False

    def has(self, role: str) -> bool:
        """True while an authorisation for ``role`` runs."""
        return Role(role) in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """One line of a person's own list."""

    id: str
    device: str
    created_at: dt.datetime
    seen_at: dt.datetime


class Cookies:
    """Their names and how they are set: never readable by a script, never sent from another site."""

    def __init__(self, settings: Settings) -> None:
        self.origin = settings.url
        self.secure = httpx2.URL(settings.url).scheme == "https"
        prefix = "__Host-" if self.secure else ""
        self.session, self.device = f"{prefix}dauso-desk", f"{prefix}dauso-device"

    def read(self, request: Request) -> tuple[str, str]:
        """(token, device); empty where there is none, or none of ours."""
        found = (request.cookies.get(self.session, ""), request.cookies.get(self.device, ""))
        token, device = (each if _TOKEN.fullmatch(each) else "" for each in found)
        return token, device

    def give(self, response: Response, token: str, device: str) -> None:
        """At log-in and unlock."""
        self._set(response, self.session, token)
        self._set(response, self.device, device)

    def take(self, response: Response) -> None:
        """At log-out."""
        for name in (self.session, self.device):
            self._set(response, name, "", 0)

    def _set(self, response: Response, name: str, value: str, age: int | None = None) -> None:
        response.set_cookie(name, value, max_age=age, path="/", secure=self.secure, httponly=True, samesite="strict")


def device_words(agent: str) -> str:
    """``Chrome · Windows``: the family without its version, which updates change."""
    family = next((name for mark, name in _FAMILIES if mark in agent), "?")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "?")
    return f"{family} · {system}"


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()


def new_token() -> str:
    """256 random bits, as a cookie holds them."""
    return base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


class Sessions:
    """Works inside the caller's transaction."""

    def __init__(self, clock: Clock, realm: Realm) -> None:
        self._clock, self._realm = clock, realm

    async def start(self, uow: UnitOfWork, *, person_id: str, passkey_id: str, device: str, agent: str) -> str:
        """A new session; returns its token. The person's oldest ones end beyond ``desk.sessions``."""
        token, now = new_token(), self._clock.now()
        await uow.execute(
            session_table.insert(),
            {"id": new_id(self._clock), "token_sha256": _digest(token), "device_sha256": _digest(device, device_words(agent)),
             "person_id": person_id, "passkey_id": passkey_id, "device": device_words(agent), "created_at": now,
             "seen_at": now, "verified_at": now, "expires_at": now + dt.timedelta(seconds=LIMITS["desk.session_seconds"]),
             "locked_at": None, "ended_at": None},
        )  # fmt: skip
        for old in (await self.open_of(uow, person_id))[LIMITS["desk.sessions"] :]:
            await self.end(uow, old.id)
        return token

    async def renew(self, uow: UnitOfWork, session_id: str, passkey_id: str) -> str:
        """Unlocked by a passkey: a new token for the same session; the old one is worth nothing from now on."""
        token, now, t = new_token(), self._clock.now(), session_table.c
        await uow.execute(
            session_table.update()
            .where(t.id == session_id, t.ended_at.is_(None))
            .values(token_sha256=_digest(token), passkey_id=passkey_id, verified_at=now, seen_at=now, locked_at=None)
        )
        return token

    async def find(self, uow: UnitOfWork, token: str, device: str, agent: str) -> sa.Row[Any] | None:
        """The running session of these cookies on this device; locked ones too."""
        if not token or not device:
            return None
        row: sa.Row[Any] | None = (
            await uow.execute(row_by(session_table.c.token_sha256), {"value": _digest(token)})
        ).first()
        if row is None or row.ended_at is not None or row.expires_at <= self._clock.now():
            return None
        known = hmac.compare_digest(row.device_sha256, _digest(device, device_words(agent)))
        return row if known else None

    async def seen_before(self, uow: UnitOfWork, token: str, device: str) -> str | None:
        """The session of these cookies, even one that is over: whoever holds them has been here. It opens nothing."""
        if not token or not device:
            return None
        row = (await uow.execute(row_by(session_table.c.token_sha256), {"value": _digest(token)})).first()
        return None if row is None else str(row.id)

    def is_locked(self, row: sa.Row[Any]) -> bool:
        """Locked by hand, or idle too long."""
        idle = dt.timedelta(seconds=LIMITS["desk.idle_seconds"])
        return row.locked_at is not None or row.seen_at + idle <= self._clock.now()

    async def touch(self, uow: UnitOfWork, session_id: str) -> None:
        """Somebody is there; never opens what is locked already."""
        now, t = self._clock.now(), session_table.c
        idle = dt.timedelta(seconds=LIMITS["desk.idle_seconds"])
        rules = (t.id == session_id, t.locked_at.is_(None), t.seen_at > now - idle)
        await uow.execute(session_table.update().where(*rules).values(seen_at=now))

    async def lock(self, uow: UnitOfWork, session_id: str) -> None:
        """By hand, before the idle time is over."""
        await uow.execute(
            session_table.update().where(session_table.c.id == session_id).values(locked_at=self._clock.now())
        )

    async def end(self, uow: UnitOfWork, session_id: str) -> None:
        """Log out."""
        await self._end(uow, session_table.c.id == session_id)

    async def end_all(self, uow: UnitOfWork, person_id: str) -> None:
        """Log out everywhere."""
        await self._end(uow, session_table.c.person_id == person_id)

    async def end_of_passkey(self, uow: UnitOfWork, passkey_id: str) -> None:
        """Those that a revoked passkey has opened."""
        await self._end(uow, session_table.c.passkey_id == passkey_id)

    async def _end(self, uow: UnitOfWork, which: sa.ColumnElement[bool]) -> None:
        await uow.execute(
            session_table.update().where(which, session_table.c.ended_at.is_(None)).values(ended_at=self._clock.now())
        )

    async def open_of(self, uow: UnitOfWork, person_id: str) -> list[OpenSession]:
        """A person's own, the newest first."""
        t = session_table.c
        query = sa.select(t.id, t.device, t.created_at, t.seen_at).where(
            t.person_id == person_id, t.ended_at.is_(None), t.expires_at > self._clock.now()
        )
        return [OpenSession(**row._mapping) for row in await uow.execute(query.order_by(t.id.desc()))]  # noqa: SLF001

    async def person(self, uow: UnitOfWork, row: sa.Row[Any], directory: Directory) -> DeskPerson:
        """With the roles that run now. Raises ``desk.signed_out``: another realm, an ended agency, a desk stopped since."""
        now, t = self._clock.now(), authorisation_table.c
        stop = await stopped_at(uow, row.person_id)
        if stop is not None and row.created_at <= stop:
            raise Refused("desk.signed_out")
        try:
            person = await directory.person(uow, row.person_id)
            agency = await directory.agency(uow, person.agency_id)
            agency.require_active(now)
        except (NotFound, Refused) as error:
            raise Refused("desk.signed_out") from error
        if person.realm is not self._realm:
            raise Refused("desk.signed_out")
        runs = sa.and_(t.valid_from <= now, sa.or_(t.valid_to.is_(None), t.valid_to > now))
        query = sa.select(t.role).where(t.person_id == person.id, t.agency_id == agency.id, runs).distinct()
        roles = frozenset(Role(each) for each in (await uow.execute(query)).scalars())
        return DeskPerson(
            person_id=person.id, name=person.name, agency=agency, roles=roles, session_id=row.id,
            passkey_id=row.passkey_id, verified_at=row.verified_at, locked=self.is_locked(row),
        )  # fmt: skip


def require_own_page(request: Request, origin: str) -> None:
    """What changes something comes from a page of ours. Raises ``desk.foreign_page``.

    Browsers say where a POST comes from (Origin; Sec-Fetch-Site). One of the two must be there, and both must be ours.
    """
    said, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if (said is None and site is None) or said not in {None, origin} or site not in {None, "same-origin"}:
        raise Refused("desk.foreign_page")


async def desk_person(
    request: Request, role: Role | None, *, locked_too: bool = False, roleless_too: bool = False
) -> DeskPerson:
    """The person of this request, once found. Raises ``desk.foreign_page``, ``desk.signed_out``, ``desk.locked``, ``desk.no_role``.

    Who holds no running role reads nothing; ``roleless_too``: a page about nobody's papers.
    """
    service = request.app.state.parts.service
    cookies, sessions = Cookies(service.settings), Sessions(service.clock, service.realm)
    if request.method not in {"GET", "HEAD"}:
        require_own_page(request, cookies.origin)
    async with service.db.read() as uow:
        row = await sessions.find(uow, *cookies.read(request), request.headers.get("user-agent", ""))
        if row is None:
            raise Refused("desk.signed_out")
        who = await sessions.person(uow, row, service.directory)
    request.state.who = who  # for the frame of a page that says why not
    if who.locked and not locked_too:
        raise Refused("desk.locked")
    entitled = bool(who.roles) or roleless_too or locked_too if role is None else role in who.roles
    if not entitled:
        raise Refused("desk.no_role")
    if not locked_too and row.seen_at + dt.timedelta(seconds=LIMITS["desk.touch_seconds"]) <= service.clock.now():
        async with service.db.write() as uow:
            await sessions.touch(uow, who.session_id)
    return who


def known_session(service: Any) -> Callable[[Scope], Awaitable[str | None]]:
    """For the gate: which session a request's cookies belong to. ``service``: that of the web process."""

    async def known(scope: Scope) -> str | None:
        cookies, sessions = Cookies(service.settings), Sessions(service.clock, service.realm)
        async with service.db.read() as uow:
            return await sessions.seen_before(uow, *cookies.read(Request(scope)))

    return known
