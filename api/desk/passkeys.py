"""Log-in passkeys: of the web's own RP ID, good for a session and for nothing else.

fido2 checks type, challenge, origin, RP ID, presence, verification and signature. Ours, because it does not: the exact
origin, crossOrigin and topOrigin, the sign count, that a challenge is answered once.
"""

import datetime as dt
import json
import struct
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import sqlalchemy as sa
from fido2 import cbor
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from api.desk.records import challenge_table, passkey_table
from core.clock import Clock
from core.db import UnitOfWork, row_by, swap_state
from core.errors import Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.logs import logger
from core.settings import Settings
from core.values import Realm
from signer.enrolment.desk_stops import stopped_at

__all__ = ["LoginPasskeys", "Passkey"]

# what foreign CBOR and JSON make fido2's parsers raise; deep nesting ends in RecursionError
_WRONG: Final = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, NotImplementedError, struct.error,
    AssertionError,
)  # fmt: skip
_ALGORITHMS: Final = (-7, -8, -257)
"""ES256, EdDSA, RS256 (RFC 9053, RFC 8812): what phones and computers make."""
_UV: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One log-in passkey of a person, as the person's own list shows it."""

    id: str
    person_id: str
    state: str
    created_at: dt.datetime
    used_at: dt.datetime | None


class LoginPasskeys:
    """Works inside the caller's transaction."""

    def __init__(self, settings: Settings, clock: Clock, realm: Realm) -> None:
        origin = settings.url
        self._clock, self._realm = clock, realm
        entity = PublicKeyCredentialRpEntity(name=settings.system_name, id=httpx2.URL(origin).host)
        self._server = Fido2Server(entity, verify_origin=lambda given: given == origin)
        self._server.allowed_algorithms = [each for each in self._server.allowed_algorithms if each.alg in _ALGORITHMS]

    # --------------------------------------------------------------------------------------------------- questions
    async def ask_login(self, uow: UnitOfWork) -> dict[str, Any]:
        """Whoever has a passkey may answer: no name is asked, so none can be tried."""
        return await self._ask(uow, "login", [])

    async def ask_unlock(self, uow: UnitOfWork, person_id: str, session_id: str) -> dict[str, Any]:
        """Only the session's own person may answer."""
        known = await self._credentials(uow, person_id)
        return await self._ask(uow, "unlock", known, person_id=person_id, session_id=session_id)

    async def _ask(self, uow: UnitOfWork, purpose: str, known: list[bytes], **bound: str) -> dict[str, Any]:
        challenge = random_bytes(32)
        tx = await self._open(uow, purpose, challenge, **bound)
        options, _ = self._server.authenticate_begin(_described(known) or None, _UV, challenge)
        return {"tx": tx, "publicKey": dict(options)["publicKey"]}

    async def ask_registration(
        self, uow: UnitOfWork, person_id: str, name: str, session_id: str | None = None
    ) -> dict[str, Any]:
        """Options for a new passkey of ``person_id``. Raises ``desk.too_many_passkeys``."""
        known = await self._credentials(uow, person_id)
        if len(known) >= LIMITS["desk.passkeys"]:
            raise Refused("desk.too_many_passkeys", most=LIMITS["desk.passkeys"])
        challenge = random_bytes(32)
        bound = {"person_id": person_id} | ({} if session_id is None else {"session_id": session_id})
        tx = await self._open(uow, "register", challenge, **bound)
        user = PublicKeyCredentialUserEntity(name=name, id=person_id.encode(), display_name=name)
        options, _ = self._server.register_begin(
            user, _described(known), ResidentKeyRequirement.REQUIRED, _UV, challenge=challenge
        )
        return {"tx": tx, "publicKey": dict(options)["publicKey"]}

    async def _open(self, uow: UnitOfWork, purpose: str, challenge: bytes, **bound: str) -> str:
        now, t = self._clock.now(), challenge_table.c
        await uow.execute(challenge_table.delete().where(t.expires_at < now - dt.timedelta(hours=1)))
        tx = new_id(self._clock)
        await uow.execute(
            challenge_table.insert(),
            {"id": tx, "purpose": purpose, "challenge": challenge, "state": "open", "person_id": None, "session_id": None,
             "expires_at": now + dt.timedelta(seconds=LIMITS["desk.challenge_seconds"]), **bound},
        )  # fmt: skip
        return tx

    # ----------------------------------------------------------------------------------------------------- answers
    async def spend(self, uow: UnitOfWork, tx: str, purpose: str) -> sa.Row[Any]:
        """The open question ``tx``, used up now whatever the answer is worth. Raises ``desk.question_gone``."""
        row: sa.Row[Any] | None = (await uow.execute(row_by(challenge_table.c.id), {"value": tx})).first()
        if row is None or row.purpose != purpose or row.expires_at <= self._clock.now():
            raise Conflict("desk.question_gone")
        if not await swap_state(uow, challenge_table.c.id, tx, "open", "spent"):
            raise Conflict("desk.question_gone")
        return row

    async def verify(self, uow: UnitOfWork, question: sa.Row[Any], answer: dict[str, Any]) -> Passkey:
        """Whose passkey it was. Raises ``desk.login_failed``: one answer for all that can be wrong; the log says what."""
        try:
            row = await self._by_credential(uow, websafe_decode(answer["rawId"]))
            if row is None or row.state != "active" or question.person_id not in {None, row.person_id}:
                raise ValueError("unknown passkey")
            stop = await stopped_at(uow, row.person_id)
            if stop is not None and row.created_at <= stop:
                raise ValueError("desk stopped")
            credential = AttestedCredentialData.create(bytes(16), row.credential_id, cbor.decode(row.public_key))  # type: ignore[arg-type]
            _require_own_frame(answer)
            self._server.authenticate_complete(_state(question.challenge), [credential], answer)
            data = websafe_decode(answer["response"]["authenticatorData"])
            await self._count(uow, row, int.from_bytes(data[33:37], "big"))
        except _WRONG as error:
            logger().info("desk.login_failed", error=type(error).__name__, kind=str(error)[:60])
            raise Refused("desk.login_failed") from error
        return Passkey(
            id=row.id, person_id=row.person_id, state=row.state, created_at=row.created_at, used_at=self._clock.now()
        )

    def verify_registration(self, question: sa.Row[Any], answer: dict[str, Any]) -> tuple[bytes, bytes]:
        """(credential id, COSE key) of a new passkey. Raises ``desk.registration_failed``."""
        try:
            _require_own_frame(answer)
            found = self._server.register_complete(_state(question.challenge), answer)
            assert found.credential_data is not None
            key = dict(found.credential_data.public_key)
            if key[3] not in _ALGORITHMS:
                raise ValueError("algorithm")
            return found.credential_data.credential_id, cbor.encode(key)
        except _WRONG as error:
            logger().info("desk.registration_failed", error=type(error).__name__, kind=str(error)[:60])
            raise Refused("desk.registration_failed") from error

    async def add(self, uow: UnitOfWork, person_id: str, credential_id: bytes, public_key: bytes) -> str:
        """Record a verified passkey; returns its id. Raises ``desk.registration_failed`` where it is known already."""
        if await self._by_credential(uow, credential_id) is not None:
            raise Refused("desk.registration_failed")
        made, now = new_id(self._clock), self._clock.now()
        await uow.execute(
            passkey_table.insert(),
            {"id": made, "person_id": person_id, "realm": self._realm, "credential_id": credential_id,
             "public_key": public_key, "sign_count": 0, "state": "active", "created_at": now, "used_at": now},
        )  # fmt: skip
        return made

    async def _count(self, uow: UnitOfWork, row: sa.Row[Any], count: int) -> None:
        """A count that does not grow is a cloned authenticator; 0 stays 0 for synced passkeys."""
        t = passkey_table.c
        fresh = sa.or_(t.sign_count < count, sa.and_(t.sign_count == 0, sa.literal(count) == 0))
        done = await uow.execute(
            passkey_table.update().where(t.id == row.id, fresh).values(sign_count=count, used_at=self._clock.now())
        )
        if done.rowcount != 1:
            raise ValueError("sign count")

    # ------------------------------------------------------------------------------------------------------ a person's
    async def of(self, uow: UnitOfWork, person_id: str) -> list[Passkey]:
        """A person's active ones, oldest first."""
        t = passkey_table.c
        mine = await self._counting(uow, person_id)
        query = sa.select(t.id, t.person_id, t.state, t.created_at, t.used_at).where(*mine)
        return [Passkey(**row._mapping) for row in await uow.execute(query.order_by(t.id))]  # noqa: SLF001

    async def revoke(self, uow: UnitOfWork, person_id: str, passkey_id: str) -> None:
        """One of the person's own; never the last alone. Raises ``web.no_such_thing``, ``desk.last_passkey``."""
        mine = [each.id for each in await self.of(uow, person_id)]
        if passkey_id not in mine:
            raise NotFound("web.no_such_thing")
        if len(mine) == 1:
            raise Refused("desk.last_passkey")
        await swap_state(uow, passkey_table.c.id, passkey_id, "active", "revoked")

    async def revoke_all(self, uow: UnitOfWork, person_id: str) -> None:
        """The last one too."""
        t = passkey_table.c
        mine = t.person_id == person_id, t.state == "active", t.realm == self._realm
        await uow.execute(passkey_table.update().where(*mine).values(state="revoked"))

    async def _counting(self, uow: UnitOfWork, person_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        """What selects a person's passkeys that open the desk."""
        t = passkey_table.c
        mine = t.person_id == person_id, t.state == "active", t.realm == self._realm
        stop = await stopped_at(uow, person_id)
        return mine if stop is None else (*mine, t.created_at > stop)

    async def _credentials(self, uow: UnitOfWork, person_id: str) -> list[bytes]:
        query = sa.select(passkey_table.c.credential_id).where(*await self._counting(uow, person_id))
        return list((await uow.execute(query)).scalars())

    async def _by_credential(self, uow: UnitOfWork, credential_id: bytes) -> sa.Row[Any] | None:
        row: sa.Row[Any] | None = (
            await uow.execute(row_by(passkey_table.c.credential_id), {"value": credential_id})
        ).first()
        return row if row is None or row.realm == self._realm else None


def _described(known: list[bytes]) -> list[PublicKeyCredentialDescriptor]:
    kind = PublicKeyCredentialType.PUBLIC_KEY
    return [PublicKeyCredentialDescriptor(type=kind, id=each) for each in known]


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": websafe_encode(challenge), "user_verification": _UV}


def _require_own_frame(answer: dict[str, Any]) -> None:
    """A page inside another one's frame says so itself."""
    client = json.loads(websafe_decode(answer["response"]["clientDataJSON"]))
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise ValueError("foreign frame")
