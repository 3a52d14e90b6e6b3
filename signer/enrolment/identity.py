"""Three ways to show who one is, each ending in a *pass* for one enrolment run.

* ``oidc``: the national log-in. PKCE verifier and nonce are derived from a secret that only the browser keeps, so a code
  that ends up in another browser, or a log-in that somebody else started, opens nothing.
* ``portal``: a portal vouches, where policy allows its level; six digits by a second channel, and a delay afterwards.
* ``passkey``: an active passkey lets a further one in.
"""

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from audit.events import LeafType
from core.clock import Clock
from core.db import Database, UnitOfWork, row_by, swap_state
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.logs import logger
from core.values import Realm
from signer.enrolment.facts import Facts
from signer.enrolment.letters import worded
from signer.enrolment.messenger import Messenger
from signer.enrolment.oidc import Claims, Provider
from signer.enrolment.people import People, same_name
from signer.enrolment.records import code_table, flow_table, run_table
from signer.enrolment.runs import Run, lock_person, move, new_pass, open_run, sha256_of
from signer.links import Link, find_link, link_table, make_link

__all__ = ["Asked", "Identities", "Returned", "Rules", "kind_for"]

_DIGITS: Final = 6
Stop = Callable[[UnitOfWork, str], Awaitable[None]]
"""Ends what waits for that person on a portal's word alone. Raises ``enrol.waiting`` where it rests on more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Policy of the operator."""

    delay: dt.timedelta
    """Between a proof that needs a delay and the first use."""
    portal_levels: frozenset[str]
    """Assurance levels at which a portal's word is taken; empty: never."""
    objection: dt.timedelta = dt.timedelta(days=30)
    """How long *that was not me* can be said with the link of a notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A log-in that goes out."""

    url: str
    flow: str
    """Stays in the browser that asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A log-in that came back."""

    claims: Claims
    link: bytes | None
    person_id: str | None
    """Whom the link expects; None: about a lost phone."""


def kind_for(standing: str, passkeys: Collection[str]) -> str:
    """What a run is about, by the states of passkeys that were usable once: whoever had one never counts as new."""
    if standing == "active" or "active" in passkeys:
        return "second"
    return "again" if passkeys else "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Opens runs; what comes after identity is ``phones``'s."""

    db: Database
    clock: Clock
    realm: Realm
    directory: Directory
    people: People
    provider: Provider | None
    messenger: Messenger
    facts: Facts
    rules: Rules
    key: bytes
    """32 bytes: for codes, verifiers and nonces."""

    # ----------------------------------------------------------------------------------------------------- log-in
    async def ask(self, link: Link | None) -> Asked:
        """Begin a log-in. Raises ``identity.none``, ``identity.provider``, ``outbound.*``."""
        provider = self._provider()
        flow, state = new_pass(), new_pass()
        url = await provider.login_url(
            state=state, nonce=self._derived("nonce", flow), verifier=self._derived("pkce", flow)
        )
        until = self.clock.now() + dt.timedelta(seconds=LIMITS["identity.flow_seconds"])
        async with self.db.write() as uow:
            await uow.execute(flow_table.delete().where(flow_table.c.expires_at < self.clock.now()))
            await uow.execute(
                flow_table.insert(),
                {
                    "state_sha256": sha256_of(state), "flow_sha256": sha256_of(flow), "issuer": provider.issuer,
                    "link": link.sha256 if link else None, "person_id": link.person_id if link else None, "state": "open",
                    "expires_at": until,
                },
            )  # fmt: skip
        return Asked(url=url, flow=flow)

    async def answer(self, *, flow: str, state: str, code: str | None, iss: str | None) -> Returned:
        """What came back, verified. ``code`` None: the provider refused, or the person did.

        Raises ``identity.unknown_state``, ``identity.other_browser``, ``identity.state_used``, ``identity.refused_there``
        and what ``Provider`` raises.
        """
        provider = self._provider()
        async with self.db.write() as uow:
            row = (await uow.execute(row_by(flow_table.c.state_sha256), {"value": sha256_of(state)})).first()
            if row is None or self.clock.now() >= row.expires_at or row.issuer != provider.issuer:
                raise Refused("identity.unknown_state")
            if not hmac.compare_digest(row.flow_sha256, sha256_of(flow)):
                raise Refused("identity.other_browser")
            if not await swap_state(uow, flow_table.c.state_sha256, row.state_sha256, "open", "used"):
                raise Conflict("identity.state_used")
        await provider.require_issuer(iss)
        if code is None:
            raise Refused("identity.refused_there")
        claims = await provider.exchange(
            code=code, verifier=self._derived("pkce", flow), nonce=self._derived("nonce", flow)
        )
        return Returned(claims=claims, link=row.link, person_id=row.person_id)

    async def admit(self, returned: Returned, stop: Stop) -> str:
        """A pass for the person whom the link expects. Raises ``identity.other_person``, ``identity.other_name`` …"""
        claims, person_id = returned.claims, returned.person_id
        assert person_id is not None
        async with self.db.write() as uow:
            await lock_person(uow, person_id)
            await self._require_link(uow, returned.link)
            try:
                await self._require_expected(uow, person_id, claims)
            except Refused as error:
                logger().warning("identity.refused", id=person_id, code=error.code)
                raise
            return await self.identified(uow, person_id, claims, returned.link, stop)

    async def identified(self, uow: UnitOfWork, person_id: str, claims: Claims, link: bytes | None, stop: Stop) -> str:
        """A run for a person who logged in; ``stop`` ends what waits on a weaker proof. Raises ``enrol.waiting``."""
        standing = await self.people.enrolled(uow, person_id)
        if standing.state == "waiting":
            await stop(uow, person_id)
            standing = await self.people.enrolled(uow, person_id)
        email = self.people.seal_email(person_id, claims.email) if claims.email else None
        subject = hmac.digest(self.key, f"sub {claims.subject}".encode(), hashlib.sha256)
        return await self._open(
            uow, person_id, standing.state, method="oidc", link=link, level=claims.level[:64] or None, email=email, subject=subject
        )  # fmt: skip

    async def _require_expected(self, uow: UnitOfWork, person_id: str, claims: Claims) -> None:
        mine = await self.people.is_number_of(uow, person_id, claims.number)
        if mine is None:
            raise Refused("identity.nobody_expected")
        if not mine:
            raise Refused("identity.other_person")
        person = await self.directory.person(uow, person_id)
        if claims.name and not same_name(claims.name, person.name):
            raise Refused("identity.other_name")

    async def _require_link(self, uow: UnitOfWork, sha256: bytes | None) -> None:
        """It may have ended while the person was away."""
        row = (await uow.execute(row_by(link_table.c.sha256), {"value": sha256})).first()
        if row is None or row.ended_at is not None or self.clock.now() >= row.expires_at:
            raise NotFound("link.expired")

    async def _open(
        self, uow: UnitOfWork, person_id: str, standing: str, *, method: str, kind: str = "", **more: Any
    ) -> str:
        if not kind and not await self.people.has_phone(uow, person_id):
            kind = "first"
        kind = kind or kind_for(standing, {key.state for key in await self.people.settled_passkeys(uow, person_id)})
        await self.facts.note(
            uow, LeafType.IDENTITY_VERIFIED, person_id, method=method, kind=kind, level=more.get("level"),
            subject=_text(more.get("subject")), issuer=self.provider.issuer if method == "oidc" and self.provider else None,
        )  # fmt: skip
        return await open_run(uow, self.clock, person_id=person_id, realm=self.realm, kind=kind, method=method, **more)

    # ----------------------------------------------------------------------------------------------------- portal
    async def vouched(
        self, uow: UnitOfWork, *, person_id: str, level: str, email: str, subject: str, expires_at: dt.datetime
    ) -> str:
        """A portal says who this is; returns the token of the link. Raises ``enrol.level``, ``enrol.official_by_portal``."""
        if level not in self.rules.portal_levels:
            raise Refused("enrol.level")
        if await self.people.roles(uow, person_id):
            raise Refused("enrol.official_by_portal")
        sealed = self.people.seal_email(person_id, email)
        await self.end_vouched(uow, person_id)
        token = await make_link(
            uow, self.clock, kind="enrol", subject=[person_id], person_id=person_id, expires_at=expires_at
        )
        values = {
            "id": new_id(self.clock), "person_id": person_id, "realm": self.realm, "link": sha256_of(token), "state": "asserted",
            "kind": "first", "method": "portal", "level": level, "email": sealed, "created_at": self.clock.now(),
            "subject": hmac.digest(self.key, f"portal {subject}".encode(), hashlib.sha256), "expires_at": expires_at,
        }  # fmt: skip
        await uow.execute(run_table.insert(), values)
        return token

    @staticmethod
    async def end_vouched(uow: UnitOfWork, person_id: str) -> None:
        """The newest word of a portal counts."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted"
        await uow.execute(run_table.update().where(*mine).values(state="ended", email=None))

    @staticmethod
    async def carry_over(uow: UnitOfWork, person_id: str, token: str) -> None:
        """A portal's word, if there is one, holds for the person's newest link."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted"
        await uow.execute(run_table.update().where(*mine).values(link=sha256_of(token)))

    async def is_vouched(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether a portal has given its word on who this is, and it may still be used."""
        t = run_table.c
        mine = t.person_id == person_id, t.state == "asserted", t.expires_at > self.clock.now()
        return (await uow.execute(sa.select(t.id).where(*mine).limit(1))).first() is not None

    async def vouched_run(self, uow: UnitOfWork, link: Link) -> Run | None:
        """What a portal said for this link, if it may still be used."""
        t = run_table.c
        query = sa.select(run_table).where(t.link == link.sha256, t.state == "asserted")
        row = (await uow.execute(query)).first()
        return None if row is None or self.clock.now() >= row.expires_at else Run.of(row)

    async def send_code(self, token: str) -> int:
        """Six digits to the address that the portal named; returns for how many seconds they are good.

        Raises ``enrol.no_portal_word``, ``enrol.code_too_soon``, ``enrol.code_too_often``, ``messenger.*``.
        """
        code = f"{int.from_bytes(random_bytes(8)) % 10**_DIGITS:0{_DIGITS}d}"
        now, seconds = self.clock.now(), LIMITS["enrol.code_seconds"]
        async with self.db.write() as uow:
            run = await self._vouched(uow, token)
            await lock_person(uow, run.person_id)
            t = code_table.c
            sent = (await uow.execute(sa.select(t.sent_at).where(t.run_id == run.id).order_by(t.sent_at.desc()))).all()
            if len(sent) >= LIMITS["enrol.codes"]:
                raise Refused("enrol.code_too_often")
            if sent and now - sent[0].sent_at < dt.timedelta(seconds=LIMITS["enrol.code_rest_seconds"]):
                raise Refused("enrol.code_too_soon", retry_after=LIMITS["enrol.code_rest_seconds"])
            await uow.execute(code_table.update().where(t.run_id == run.id, t.state == "sent").values(state="ended"))
            values = {
                "id": new_id(self.clock), "run_id": run.id, "mac": self._code_mac(run.id, code), "tries": 0, "state": "sent",
                "sent_at": now, "expires_at": now + dt.timedelta(seconds=seconds),
            }  # fmt: skip
            await uow.execute(code_table.insert(), values)
            assert run.email is not None
            to = self.people.open_email(run.person_id, run.email)
        subject, text = worded("code", code=code, minutes=str(seconds // 60))
        await self.messenger.send(to, subject, text)
        return seconds

    async def answer_code(self, token: str, code: str) -> str:
        """A pass for the right digits. Raises ``enrol.no_code``, ``enrol.code_spent``, ``enrol.wrong_code``."""
        t = code_table.c
        async with self.db.write() as uow:  # the try is counted, and stays counted, before the guess is looked at
            run = await self._vouched(uow, token)
            query = sa.select(code_table).where(t.run_id == run.id, t.state == "sent").order_by(t.id.desc()).limit(1)
            row = (await uow.execute(query)).first()
            if row is None or self.clock.now() >= row.expires_at:
                raise Refused("enrol.no_code")
            free = t.id == row.id, t.state == "sent", t.tries < LIMITS["enrol.code_tries"]
            if (await uow.execute(code_table.update().where(*free).values(tries=t.tries + 1))).rowcount != 1:
                logger().warning("enrol.code_spent", id=run.id)
                raise Refused("enrol.code_spent")
        if not hmac.compare_digest(row.mac, self._code_mac(run.id, code)):
            raise Refused("enrol.wrong_code", left=max(0, LIMITS["enrol.code_tries"] - row.tries - 1))
        async with self.db.write() as uow:
            await lock_person(uow, run.person_id)
            if not await swap_state(uow, t.id, row.id, "sent", "used"):
                raise Conflict("enrol.code_spent")
            if await self.people.roles(uow, run.person_id):  # given a role since
                raise Refused("enrol.official_by_portal")
            return await self._vouched_identified(uow, run)

    async def _vouched_identified(self, uow: UnitOfWork, run: Run) -> str:
        standing = await self.people.enrolled(uow, run.person_id)
        if standing.state == "waiting":
            raise Conflict("enrol.waiting")
        await move(uow, run.id, "asserted", "ended", email=None)
        return await self._open(
            uow, run.person_id, standing.state, method="portal", link=run.link, level=run.level, email=run.email,
            subject=run.subject,
        )  # fmt: skip

    async def _vouched(self, uow: UnitOfWork, token: str) -> Run:
        link = await find_link(uow, self.clock, token)
        run = await self.vouched_run(uow, link) if link.kind == "enrol" else None
        if run is None:
            raise Refused("enrol.no_portal_word")
        return run

    # ---------------------------------------------------------------------------------------------------- passkey
    async def by_passkey(self, uow: UnitOfWork, person_id: str, link: bytes) -> str:
        """A pass for whoever just showed an active passkey of the person (verified by the caller)."""
        await lock_person(uow, person_id)
        standing = await self.people.enrolled(uow, person_id)
        return await self._open(
            uow, person_id, "active", method="passkey", link=link, kind="renewal" if standing.renewable else "second"
        )

    # ----------------------------------------------------------------------------------------------------- inside
    def _provider(self) -> Provider:
        if self.provider is None:
            raise Refused("identity.none")
        return self.provider

    def _derived(self, what: str, flow: str) -> str:
        """43 URL-safe letters (RFC 7636 §4.1) that only this signer and that browser can name."""
        value = hmac.digest(self.key, f"{what} {flow}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    def _code_mac(self, run_id: str, code: str) -> bytes:
        return hmac.digest(self.key, f"code {run_id} {code}".encode(), hashlib.sha256)


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
