"""The PKCS#11 key store: the port over the workers, every value verified before it is released.

Few keys live in the token (seals, log, CA). People's keys are many: they are made in the token, wrapped by it and kept
in our database (``wrapped``, ``records``); which of the two a key is shows in the database alone, and a reference to
one cannot be turned into the other, since both are bound by the token.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from core.clock import Clock
from core.db import Database, insert_new, swap_state
from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError, Unavailable
from core.ids import random_bytes
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import Health, KeyPurpose, KeyRef, checked, require_fitting
from signer.keystores.pkcs11.pool import Pkcs11Config, Pool
from signer.keystores.pkcs11.records import WRAPPED_BY_NAME, wrapped_key_table
from signer.keystores.pkcs11.wire import error_of

__all__ = ["Pkcs11KeyStore"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PEOPLE: Final = frozenset({KeyPurpose.DOCUMENT})
_MOST_MESSAGE: Final = 1024 * 1024
"""Bytes that an Ed25519 key signs whole: signed attributes and checkpoints are far smaller."""


class Pkcs11KeyStore:
    """Satisfies ``KeyStore``."""

    name = "pkcs11"

    def __init__(
        self, config: Pkcs11Config, clock: Clock, db: Database | None = None,
        wrapped: frozenset[KeyPurpose] = _PEOPLE,
    ) -> None:  # fmt: skip
        """``db``: where wrapped keys of the purposes ``wrapped`` are kept; without it every key lives in the token."""
        self._pool, self._place = Pool(config), config.token
        self._clock, self._db, self._purposes = clock, db, wrapped
        self._epoch = 0
        self._making = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Pkcs11KeyStore({self._place!r})"

    @property
    def not_for_production(self) -> bool:
        """True for SoftHSM, and until the token has said who made it."""
        return not self._pool.maker or "softhsm" in self._pool.maker.lower()

    async def start(self) -> None:
        """Workers start and one opens the token; whether that went well says ``health``."""
        self._pool.start()
        await self.health()

    async def close(self) -> None:
        """Workers end."""
        await self._pool.close()

    @property
    def pids(self) -> list[int]:
        """Of the workers that run now."""
        return self._pool.pids

    async def _call(
        self, op: str, key: str, body: dict[str, Any], *, seconds: str = "pkcs11.call_seconds", more: float = 0,
        repeatable: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """One call; errors name the key."""
        try:
            return await self._pool.call(
                body | {"op": op, "epoch": self._epoch}, seconds=LIMITS[seconds] + more, repeatable=repeatable
            )
        except ServiceError as error:
            error.evidence.setdefault("key", key)
            raise

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key. Raises ``key.exists``, ``key.algorithm_unsupported``, ``key.bad_input``."""
        ref = self._named(name, purpose, algorithm)
        wrap = self._db is not None and purpose in self._purposes
        async with self._making:  # of two that ask for one name the second finds it taken
            await self._require_free(name)
            made = await self._call("wrap" if wrap else "create", name, _bound(ref), seconds="pkcs11.create_seconds")
            ref = self._named(name, purpose, algorithm, _bytes(made, "spki"))
            if "blob" in made:
                await self._keep(ref, made)
        return ref

    def _named(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm, spki: bytes = b"") -> KeyRef:
        if not _NAME.fullmatch(name):
            raise BadInput("key.bad_input")
        return KeyRef(
            store=self.name, name=name, version=1, purpose=purpose, algorithm=algorithm, spki=spki, place=self._place
        )

    async def _row(self, name: str) -> Any:
        return None if self._db is None else await self._db.prepared(WRAPPED_BY_NAME).first(name=name)

    async def _require_free(self, name: str) -> None:
        if await self._row(name) is not None:
            raise Conflict("key.exists", key=name)

    async def _keep(self, ref: KeyRef, made: dict[str, Any]) -> None:
        assert self._db is not None
        parts = {part: _bytes(made, part) for part in ("blob", "tag", "kek", "mac")}
        row = {
            "name": ref.name, "version": ref.version, "purpose": ref.purpose.value, "algorithm": ref.algorithm.value,
            "place": ref.place, "spki": ref.spki, "state": "active", "created_at": self._clock.now(),
        }  # fmt: skip
        async with self._db.write() as uow:
            if (await uow.execute(insert_new(uow, wrapped_key_table), row | parts)).rowcount != 1:
                raise Conflict("key.exists", key=ref.name)

    async def _located(self, ref: KeyRef, *, dead: bool = False) -> dict[str, Any]:
        """What a worker needs to find the key.

        Raises ``key.no_such_store`` of another token, ``key.missing``, and ``key.disabled`` unless ``dead``.
        """
        if ref.store != self.name or ref.place != self._place:
            raise Unavailable("key.no_such_store", store=f"{ref.store}:{ref.place}")
        if ref.version != 1 or not _NAME.fullmatch(ref.name):
            raise NotFound("key.missing", key=ref.name)
        body = _bound(ref)
        row = await self._row(ref.name)
        if row is None:
            return body
        if row.state != "active" and not dead:
            raise Refused("key.disabled", key=ref.name)
        if row.blob is None:
            raise NotFound("key.missing", key=ref.name)
        return body | {part: getattr(row, part).hex() for part in ("blob", "tag", "kek", "mac")}

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """Verified before it returns."""
        require_fitting(ref, to_sign, purpose)
        if len(to_sign.value) > _MOST_MESSAGE:
            raise BadInput("key.bad_input")
        located = await self._located(ref)
        answer = await self._call("sign", ref.name, located | {"items": [to_sign.value.hex()]})
        return _released(ref, to_sign, _results(answer, 1)[0])

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest], *, purpose: KeyPurpose, event_id: str
    ) -> list[bytes | ServiceError]:
        """One result or error an item, in order; pieces of ``pkcs11.batch`` items, side by side on all workers."""
        fit: list[ServiceError | None] = [_unfitting(ref, item, purpose) for item in items]
        good = [item for item, wrong in zip(items, fit, strict=True) if wrong is None]
        size = LIMITS["pkcs11.batch"]
        pieces = [good[at : at + size] for at in range(0, len(good), size)]
        done = iter([each for piece in await self._pieces(ref, pieces) for each in piece])
        return [next(done) if wrong is None else wrong for wrong in fit]

    async def _pieces(self, ref: KeyRef, pieces: list[list[Digest]]) -> list[list[bytes | ServiceError]]:
        if not pieces:
            return []
        try:
            located = await self._located(ref)
        except ServiceError as error:
            return [[error] * len(piece) for piece in pieces]
        return list(await asyncio.gather(*(self._piece(ref, located, piece) for piece in pieces)))

    async def _piece(self, ref: KeyRef, located: dict[str, Any], piece: list[Digest]) -> list[bytes | ServiceError]:
        try:
            body = located | {"items": [item.value.hex() for item in piece]}
            answer = await self._call("sign", ref.name, body, more=0.2 * len(piece))
            results = _results(answer, len(piece))
        except ServiceError as error:
            return [error] * len(piece)
        released: list[bytes | ServiceError] = []
        for item, result in zip(piece, results, strict=True):
            try:
                released.append(_released(ref, item, result))
            except ServiceError as error:
                released.append(error)
        return released

    async def public_key(self, ref: KeyRef) -> bytes:
        """Of the key as the token has it, or vouches for it. Raises ``key.missing``, ``key.damaged``."""
        located = await self._located(ref, dead=True)
        return _bytes(await self._call("public", ref.name, located, repeatable=True), "spki")

    async def health(self) -> Health:
        """A worker looks whether its session is alive; never raises."""
        try:
            await self._pool.call({"op": "health"}, seconds=LIMITS["pkcs11.open_seconds"], repeatable=True)
        except ServiceError as error:
            state = "denied" if error.code == "key.denied" else "unreachable"
            return Health(state=state, detail=f"PKCS#11 token {self._place}: {error.evidence.get('detail', '')}")
        return Health(state="open", detail=f"PKCS#11 token {self._place}: {self._pool.product}")

    async def disable(self, ref: KeyRef) -> None:
        """No use from now on, by no worker of ours."""
        located = await self._located(ref, dead=True)
        if "blob" in located:
            await self._call("public", ref.name, located, repeatable=True)  # a changed reference disables nothing
            await self._swap(ref, "active", "disabled")
        else:
            await self._call("disable", ref.name, located, repeatable=True)
        self._epoch += 1

    async def destroy(self, ref: KeyRef) -> None:
        """Gone for good; the name is never given again."""
        located = await self._located(ref, dead=True)
        if "blob" in located:
            await self._call("public", ref.name, located, repeatable=True)
            if not await self._swap(ref, "disabled", "destroyed", blob=None):
                raise Refused("key.not_disabled", key=ref.name)
        else:
            await self._call("destroy", ref.name, located)
        self._epoch += 1

    async def _swap(self, ref: KeyRef, old: str, new: str, **values: Any) -> bool:
        assert self._db is not None
        async with self._db.write() as uow:
            return await swap_state(uow, wrapped_key_table.c.name, ref.name, old, new, **values)

    async def adopt(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm, cka_id: bytes) -> KeyRef:
        """Take up a key pair that is in the token already; it proves itself by a signature, and keeps its CKA_ID.

        What a crash interrupted goes on with the same name. Raises ``key.exists`` (another key of that name, or the pair
        under another name), ``key.missing``, ``key.extractable`` for a pair that the token would hand out, ``key.damaged`` for one of another kind, ``key.wrong_signature``.
        """
        ref = self._named(name, purpose, algorithm)
        wanted = algorithm.digest
        to_sign = Message(random_bytes(32)) if wanted is None else Digest.of(random_bytes(32), wanted)
        async with self._making:
            await self._require_free(name)
            look = {
                "name": name,
                "key_id": cka_id.hex(),
                "algorithm": algorithm.value,
                "challenge": to_sign.value.hex(),
            }
            found = await self._call("inspect", name, look)
            ref = self._named(name, purpose, algorithm, _bytes(found, "spki"))
            checked(ref, to_sign, _bytes(found, "value"))
            await self._call("adopt", name, _bound(ref) | {"key_id": cka_id.hex()})
        return ref


def _bound(ref: KeyRef) -> dict[str, Any]:
    """Of a reference, as workers get it."""
    return {
        "name": ref.name, "binding": ref.binding.decode(), "algorithm": ref.algorithm.value, "spki": ref.spki.hex(),
        "spki_sha256": hashlib.sha256(ref.spki).hexdigest(),
    }  # fmt: skip


def _unfitting(ref: KeyRef, item: Digest, purpose: KeyPurpose) -> ServiceError | None:
    try:
        require_fitting(ref, item, purpose)
    except ServiceError as error:
        return error
    return None


def _results(answer: dict[str, Any], count: int) -> list[Any]:
    """One an item, or none is believed."""
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != count:
        raise Broken("key.wrong_signature")
    return results


def _bytes(answer: dict[str, Any], part: str) -> bytes:
    """A worker's memory is not only ours: what is no hexadecimal text is damage. Raises ``key.damaged``."""
    try:
        return bytes.fromhex(answer[part])
    except (KeyError, TypeError, ValueError):
        raise Broken("key.damaged") from None


def _released(ref: KeyRef, to_sign: Digest | Message, result: Any) -> bytes:
    match result:
        case {"error": told}:
            raise error_of(told, ref.name)
        case {"value": str()}:
            return checked(ref, to_sign, _bytes(result, "value"))
    raise Broken("key.wrong_signature", key=ref.name)
