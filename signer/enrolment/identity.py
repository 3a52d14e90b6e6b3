"""Two ways to show who one is, each ending in a *pass* for one enrolment run; the third, a portal's word, is ``vouching``'s.

* ``oidc``: the national log-in. PKCE verifier and nonce are derived from a secret that only the browser keeps, so a code
  that ends up in another browser, or a log-in that somebody else started, opens nothing.
* ``passkey``: an active passkey lets a further one in.
"""

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.clock import Clock
from core.db import Database, UnitOfWork, row_by, swap_state
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Refused
from core.limits import LIMITS
from core.logs import logger
from signer.enrolment.oidc import Claims, Provider
from signer.enrolment.openings import Openings
from signer.enrolment.people import People, is_email, same_name
from signer.enrolment.records import flow_table
from signer.enrolment.runs import lock_person, new_pass, sha256_of
from signer.links import Link, link_table

__all__ = ["Asked", "Identities", "Returned", "Rules"]

Stop = Callable[[UnitOfWork, str], Awaitable[None]]
"""Ends what waits for that person on a portal's word alone. Raises ``enrol.waiting`` where it rests on more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Policy of the operator."""

    delay: dt.timedelta
    """Between a proof that needs a delay and the first use."""
    levels: frozenset[str] = frozenset()
    """Values of a log-in's level that are good enough; empty: any."""
    official_levels: frozenset[str] = frozenset()
    """The same for who acts for an agency."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Opens runs; what comes after identity is ``phones``'s."""

    db: Database
    clock: Clock
    directory: Directory
    people: People
    openings: Openings
    provider: Provider | None
    rules: Rules
    key: bytes
    """32 bytes: for verifiers and nonces."""

    # ----------------------------------------------------------------------------------------------------- log-in
    async def ask(self, link: Link | None) -> Asked:
        """Begin a log-in. Raises ``identity.none``, ``identity.provider``, ``outbound.*``."""
        provider = self._provider()
        flow, state = new_pass(), new_pass()
        async with self.db.read() as uow:
            fresh = await self._must_be_fresh(uow, link.person_id if link else None)
        url = await provider.login_url(
            state=state, nonce=self._derived("nonce", flow), verifier=self._derived("pkce", flow), fresh=fresh
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
            asked_at = row.expires_at - dt.timedelta(seconds=LIMITS["identity.flow_seconds"])
            since = asked_at if await self._must_be_fresh(uow, row.person_id) else None
        await provider.require_issuer(iss)
        if code is None:
            raise Refused("identity.refused_there")
        claims = await provider.exchange(
            code=code, verifier=self._derived("pkce", flow), nonce=self._derived("nonce", flow), since=since
        )
        return Returned(claims=claims, link=row.link, person_id=row.person_id)

    async def _must_be_fresh(self, uow: UnitOfWork, person_id: str | None) -> bool:
        """An old session at the provider may be anybody's who holds the phone: not enough to lock, replace or act for an agency."""
        if person_id is None:
            return True
        return bool(await self.people.roles(uow, person_id) or await self.people.settled_passkeys(uow, person_id))

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
        """A run for a person who logged in; ``stop`` ends what waits on a weaker proof.

        Raises ``identity.level``, ``enrol.term_ended``, ``enrol.waiting``.
        """
        official = bool(await self.people.roles(uow, person_id))
        wanted = self.rules.official_levels if official else self.rules.levels
        if wanted and claims.level not in wanted:
            raise Refused("identity.level")
        await self.openings.require_term(uow, person_id)
        if await self.people.waiting(uow, person_id) is not None:
            await stop(uow, person_id)
        # what is no address counts as none: a provider's slip must not cost anybody the log-in
        email = self.people.seal_email(person_id, claims.email) if is_email(claims.email) else None
        subject = hmac.digest(self.key, f"sub {claims.subject}".encode(), hashlib.sha256)
        return await self.openings.open(
            uow, person_id, method="oidc", link=link, level=claims.level[:64] or None, email=email, subject=subject,
            issuer=self._provider().issuer,
        )  # fmt: skip

    async def _require_expected(self, uow: UnitOfWork, person_id: str, claims: Claims) -> None:
        """The number decides. A name that nobody has proven yet gives way to the log-in's."""
        mine = await self.people.is_number_of(uow, person_id, claims.number)
        if mine is None:
            raise Refused("identity.nobody_expected")
        if not mine:
            raise Refused("identity.other_person")
        person = await self.directory.person(uow, person_id)
        if not claims.name or same_name(claims.name, person.name):
            return
        if not await self.people.is_name_open(uow, person_id):
            raise Refused("identity.other_name")
        await self.people.adopt_name(uow, person_id, claims.name)

    async def _require_link(self, uow: UnitOfWork, sha256: bytes | None) -> None:
        """It may have ended while the person was away."""
        row = (await uow.execute(row_by(link_table.c.sha256), {"value": sha256})).first()
        if row is None or row.ended_at is not None or self.clock.now() >= row.expires_at:
            raise NotFound("link.expired")

    # ---------------------------------------------------------------------------------------------------- passkey
    async def by_passkey(self, uow: UnitOfWork, person_id: str, link: bytes) -> str:
        """A pass for whoever just showed an active passkey of the person (verified by the caller). Raises ``enrol.term_ended``."""
        await lock_person(uow, person_id)
        standing = await self.people.enrolled(uow, person_id)
        return await self.openings.open(
            uow, person_id, method="passkey", link=link, kind="renewal" if standing.renewable else "second"
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
