"""The transit engine of OpenBao or Vault as a ``KeyStore``."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.clock import Clock, SystemClock
from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from core.vault import Vault
from signer.keystores.model import Health, KeyPurpose, KeyRef, require_fitting
from signer.keystores.transit.answers import (
    REFUSED_ITEM,
    Asked,
    Kept,
    as_key_error,
    creation,
    read_rows,
    signing,
    value_of,
)
from signer.keystores.transit.gathering import Gathering, Results
from signer.keystores.transit.naming import TYPES, full_name, mounts_of, place_of, require_bound

__all__ = ["TransitKeyStore"]

_PAUSES: Final = (0.05, 0.15, 0.4)
"""Seconds before a key that was not found is looked for again: a standby learns of a new key a moment later."""

_SLICE: Final = 25
"""Signatures verified before others on the loop have a turn: some milliseconds."""

_EMPTY_KIND: Final = "aes256-gcm96"
"""What stands under a destroyed key's name: a key that cannot sign."""

_STATES: Final = {"open": "open", "standby": "open", "sealed": "sealed", "denied": "denied"}


class TransitKeyStore:
    """Satisfies ``KeyStore``. Used from one event loop; it may be made before ``vault`` is started.

    Up to three identities (``signer/keystores/policies.py``): ``vault`` signs and reads public keys, ``enroller`` creates,
    ``admin`` (the custodian) disables and destroys. Without ``enroller`` keys are created as ``vault``, where its policy lets
    it; without ``admin`` nothing can be disabled or destroyed: that right is handed out for one decision at a time.

    ``KeyRef.name`` is the name asked for and the algorithm (see ``naming``); ``KeyRef.place`` is the mount. A key is looked
    for in the mount that its reference names, and only if that mount is configured.
    """

    name = "transit"
    not_for_production = False

    def __init__(
        self, vault: Vault, mounts: Sequence[str], *, enroller: Vault | None = None, admin: Vault | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        """``mounts``: paths of transit engines; new keys are spread over them by name. Raises ``key.bad_mounts``."""
        self._vault, self._enroller, self._admin = vault, enroller or vault, admin
        self._mounts = mounts_of(",".join(mounts))
        self._clock = clock or SystemClock()
        self._making: set[str] = set()
        self._gathering = Gathering(self._send, self._read_answer)

    def __repr__(self) -> str:
        return f"TransitKeyStore(mounts={self._mounts!r})"

    @property
    def sessions(self) -> dict[str, Vault]:
        """By identity, each session once: who signs may also be who creates."""
        named = {"signer": self._vault, "enroller": self._enroller, "custodian": self._admin}
        found: dict[str, Vault] = {}
        for who, vault in named.items():
            if vault is not None and vault not in found.values():
                found[who] = vault
        return found

    # making

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key named ``<purpose>-<id>``.

        Creating a key that is there already succeeds silently in transit. So the name is looked up first, and what the
        server answers must be one version, made after we asked. What remains: two processes that ask for the same name in
        the same moment are given the same key. Names are made by ``new_id`` (80 random bits), so that takes intent.

        Raises ``key.exists``, ``key.bad_input``; ``key.damaged`` for a key that is not as it was ordered.
        """
        full = full_name(name, purpose, algorithm)
        if full in self._making:
            raise Conflict("key.exists", key=full)
        self._making.add(full)
        try:
            spki = await self._make(full, algorithm)
        finally:
            self._making.discard(full)
        return KeyRef(
            store=self.name, place=place_of(full, self._mounts), name=full, version=1, purpose=purpose,
            algorithm=algorithm, spki=spki,
        )  # fmt: skip

    async def _make(self, full: str, algorithm: SignatureAlgorithm) -> bytes:
        maker = self._enroller
        path = f"{place_of(full, self._mounts)}/keys/{full}"
        if await self._look(maker, path, full) is not None:
            raise Conflict("key.exists", key=full)
        since = await self._server_time(maker)
        answer = await self._call(maker, "POST", path, creation(TYPES[algorithm]), full)
        # OpenBao and newer Vaults answer with the key; a read may meet a standby that does not know it yet
        kept = Kept.of(answer) if "keys" in answer else await self._read(maker, path, full)
        if kept.latest != 1 or kept.soft_deleted or not kept.spkis or kept.made[1] < since:
            raise Conflict("key.exists", key=full)
        if kept.leaky or kept.imported or kept.kind != TYPES[algorithm]:
            raise Broken("key.damaged", key=full)
        return kept.spkis[1]

    async def _server_time(self, maker: Vault) -> dt.datetime:
        """Now by the server's clock, which stamps keys; early by what we cannot know of it."""
        skew = (await maker.health()).clock_skew_seconds
        early = dt.timedelta(seconds=-300.0 if skew is None else skew - 1.5)
        return self._clock.now() + early

    # using

    async def public_key(self, ref: KeyRef) -> bytes:
        """Of the pinned version, as the server has it now."""
        kept = await self._read(self._vault, self._path(ref), ref.name)
        spki = kept.spkis.get(ref.version)
        if spki is None:
            raise NotFound("key.missing", key=ref.name)
        return spki

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """Verified before it returns; gathered with others that wait for the same key."""
        _require(ref, to_sign, purpose)
        self._path(ref)
        (result,) = await self._gathering.sign(ref, [Asked(to_sign, event_id)])
        if isinstance(result, ServiceError):
            raise result
        return result

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest | Message], *, purpose: KeyPurpose, event_id: str
    ) -> Results:
        """One result or error an item, in order."""
        results: dict[int, bytes | ServiceError] = {}
        good: list[int] = []
        for place, item in enumerate(items):
            try:
                _require(ref, item, purpose)
                good.append(place)
            except ServiceError as error:
                results[place] = error
        try:
            self._path(ref)
            signed = await self._gathering.sign(ref, [Asked(items[place], event_id) for place in good])
        except ServiceError as error:
            signed = [type(error)(error.code, **error.evidence) for _ in good]
        results.update(zip(good, signed, strict=True))
        return [results[place] for place in range(len(items))]

    async def _send(self, ref: KeyRef, asked: Sequence[Asked]) -> Mapping[str, Any]:
        """One call; again where the key is not found, for it may be younger than the standby's knowledge."""
        body = signing(ref, asked)
        for pause in (*_PAUSES, None):
            try:
                return await self._call(self._vault, "POST", f"{ref.place}/sign/{ref.name}", body, ref.name)
            except NotFound:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            except BadInput as error:
                raise await self._why(ref) or error from None
        raise AssertionError  # pragma: no cover

    async def _read_answer(self, ref: KeyRef, asked: Sequence[Asked], answer: Mapping[str, Any]) -> Results:
        results: list[Any] = []
        for place, (one, row) in enumerate(zip(asked, read_rows(asked, answer), strict=True)):
            if place and place % _SLICE == 0:
                await asyncio.sleep(0)
            results.append(value_of(ref, one, row))
        if REFUSED_ITEM in results:
            why = await self._why(ref) or BadInput("key.bad_input")
            results = [type(why)(why.code, **why.evidence) if r is REFUSED_ITEM else r for r in results]
        return results

    async def _why(self, ref: KeyRef) -> ServiceError | None:
        """What about the key makes the server refuse: ``key.missing``, ``key.disabled``; None where it is not the key."""
        try:
            kept = await self._look(self._vault, self._path(ref), ref.name)
        except ServiceError as error:
            return None if error.code in {"key.denied", "key.bad_input"} else error
        if kept is None:
            return NotFound("key.missing", key=ref.name)
        if kept.is_disabled(ref.version) or not kept.spkis:  # no public key: it was destroyed, the name is kept
            return Refused("key.disabled", key=ref.name)
        return None if ref.version in kept.spkis else NotFound("key.missing", key=ref.name)

    async def health(self) -> Health:
        """A standby counts as open: it signs, or passes the call on."""
        try:
            told = await self._vault.health()
        except ServiceError as error:
            state = "sealed" if error.code == "vault.sealed" else "unreachable"
            return Health(state=state, detail="OpenBao/Vault")
        state = _STATES.get(told.state, "unreachable")
        detail = f"OpenBao/Vault {told.version}".strip() if told.version else "OpenBao/Vault"
        return Health(state=state, detail=f"{detail}, standby" if told.state == "standby" else detail)

    # ending

    async def disable(self, ref: KeyRef) -> None:
        """From now on the server itself refuses to sign with this version, whoever asks.

        OpenBao: soft deletion. Vault has none there: a further version is made, and signing is allowed from that one on.
        Raises ``key.denied`` without an ``admin``.
        """
        admin, path = self._require_admin(ref), self._path(ref)
        kept = self._require_same(ref, await self._read(admin, path, ref.name))
        if kept.is_disabled(ref.version):
            return
        if admin.capabilities.soft_delete:
            answer = await self._call(admin, "DELETE", f"{path}/soft-delete", None, ref.name)
        else:
            await self._call(admin, "POST", f"{path}/rotate", None, ref.name)
            newest = (await self._read(admin, path, ref.name)).latest
            body = {"min_encryption_version": str(newest)}  # spelled, as a policy can tell it
            answer = await self._call(admin, "POST", f"{path}/config", body, ref.name)
        kept = Kept.of(answer) if "keys" in answer else await self._read(admin, path, ref.name)
        if not kept.is_disabled(ref.version):
            raise Unavailable("key.unavailable")

    async def destroy(self, ref: KeyRef) -> None:
        """All versions are gone for good; a key that cannot sign takes the name, which so is never given again.

        A crash in between leaves the name free until this is called again. Raises ``key.denied`` without an ``admin``,
        ``key.not_disabled``, ``key.missing``; ``key.damaged`` where another key stands under the name.
        """
        admin, path = self._require_admin(ref), self._path(ref)
        kept = await self._look(admin, path, ref.name)
        if kept is None or not kept.spkis:
            await self._close_name(admin, path, ref.name)
            raise NotFound("key.missing", key=ref.name)
        if not self._require_same(ref, kept).is_disabled(ref.version):
            raise Refused("key.not_disabled", key=ref.name)
        await self._call(admin, "POST", f"{path}/config", {"deletion_allowed": True}, ref.name)
        await self._call(admin, "DELETE", path, None, ref.name)
        await self._close_name(admin, path, ref.name)

    async def _close_name(self, admin: Vault, path: str, name: str) -> None:
        await self._call(admin, "POST", path, creation(_EMPTY_KIND), name)

    def _require_admin(self, ref: KeyRef) -> Vault:
        if self._admin is None:
            raise Unavailable("key.denied", key=ref.name)
        return self._admin

    @staticmethod
    def _require_same(ref: KeyRef, kept: Kept) -> Kept:
        """Nothing is ended by a reference to another key."""
        if not kept.spkis:
            raise NotFound("key.missing", key=ref.name)
        if kept.spkis.get(ref.version) != ref.spki:
            raise Broken("key.damaged", key=ref.name)
        return kept

    # speaking to the server

    def _path(self, ref: KeyRef) -> str:
        """Raises ``key.damaged`` or ``key.no_such_store`` before anything is sent: references come from a table."""
        require_bound(ref)
        if ref.store != self.name or ref.place not in self._mounts:
            raise Unavailable("key.no_such_store", store=f"{ref.store}:{ref.place}")
        return f"{ref.place}/keys/{ref.name}"

    async def _read(self, vault: Vault, path: str, name: str) -> Kept:
        """Raises ``key.missing`` after looking some more times."""
        for pause in (*_PAUSES, None):
            kept = await self._look(vault, path, name)
            if kept is not None:
                return kept
            if pause is not None:
                await asyncio.sleep(pause)
        raise NotFound("key.missing", key=name)

    async def _look(self, vault: Vault, path: str, name: str) -> Kept | None:
        try:
            return Kept.of(await self._call(vault, "GET", path, None, name))
        except NotFound:
            return None

    @staticmethod
    async def _call(
        vault: Vault, method: str, path: str, body: Mapping[str, Any] | None, name: str
    ) -> Mapping[str, Any]:
        try:
            return await vault.call(method, path, body)
        except ServiceError as error:
            raise as_key_error(error, name) from None


def _require(ref: KeyRef, to_sign: Digest | Message, purpose: KeyPurpose) -> None:
    require_fitting(ref, to_sign, purpose)
    if len(to_sign.value) > LIMITS["transit.message_bytes"]:
        raise BadInput("key.bad_input")
