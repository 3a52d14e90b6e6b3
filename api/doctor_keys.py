"""``dauso doctor keys``: whether every store can be used as it should be, and by nobody else; whether each key is its certificate's.

A running signer is asked, since it holds the sessions: logging in a second time would spend the secret id that only one
process can have. Where none runs the stores are opened here, unless that would spend one.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from api.inner import SignerDoor
from api.keystores import open_stores, spends_secret_ids
from audit.keyuse import looks
from core.certificates import Certificate
from core.clock import VIETNAM, Clock, SystemClock, timestamp_text
from core.db import Database
from core.errors import Broken, NotFound, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.messages import sentence
from core.settings import Settings
from core.values import Realm
from core.vault import Vault
from signer.credentials import Credential, Credentials, credential_table
from signer.keystores.allowed import Imports, Policies, place
from signer.keystores.model import KeyStore
from signer.keystores.policies import Identity, Policy, bundle_sha256, policy_for, same_text
from signer.keystores.registry import KeyState, Registry
from signer.keystores.stores import KeyStores
from signer.keystores.transit import TransitKeyStore

__all__ = ["KeyDoctor", "Row", "look", "realm_of"]

Row = tuple[str, bool, str]
"""What, whether it is well, and why."""
_AT_ONCE: Final = 16
_SKEW: Final = 5.0
"""Seconds between two clocks that are worth a word."""


def realm_of(settings: Settings) -> Realm:
    """Of a home that is there."""
    return Realm(json.loads((settings.home / "home.json").read_text())["realm"])


async def look(settings: Settings) -> list[Row]:
    """By the signer that runs, or here. Never raises: what fails is a row."""
    door = SignerDoor(settings.socket, LIMITS["keys.doctor_seconds"])
    try:
        return [(name, good, detail) for name, good, detail in json.loads(await door.ask("keys.doctor"))]
    except Unavailable:
        pass
    except ServiceError as error:
        return [("keys", False, _said(error))]
    finally:
        await door.close()
    if spends_secret_ids(settings):
        return [("key store transit", False, _code("keys.not_looked"))]
    try:
        clock = SystemClock()
        async with Database(settings.database) as db, open_stores(settings, clock, db) as keys:
            return await KeyDoctor(settings=settings, realm=realm_of(settings), clock=clock, db=db, keys=keys).examine()
    except ServiceError as error:
        return [("key store", False, _said(error))]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDoctor:
    """Looks on: nothing is signed, nothing changed."""

    settings: Settings
    realm: Realm
    clock: Clock
    db: Database
    keys: KeyStores

    async def examine(self) -> list[Row]:
        """All rows."""
        rows: list[Row] = []
        for store in self.keys.all():
            rows += await self._store(store)
        return [*rows, *await self._reconciled(), *await self._credentials()]

    # ------------------------------------------------------------------------------------------------------- stores
    async def _store(self, store: KeyStore) -> list[Row]:
        name = f"key store {store.name}"
        health = await store.health()
        mark = f" · {_both('key.not_for_production')}" if store.not_for_production else ""
        rows: list[Row] = [(name, health.state == "open", f"{health.state}, {health.detail}{mark}")]
        if isinstance(store, TransitKeyStore):
            for who, vault in store.sessions.items():
                rows += await self._session(who, vault)
            rows += await self._decided(store)
        return rows

    async def _session(self, who: str, vault: Vault) -> list[Row]:
        """One identity's: clock, token, rights, what it may see of audit."""
        told, name = await vault.health(), f"transit {who}"
        if told.state not in {"open", "standby"}:
            return [(name, False, f"{told.state} ({told.code})")]
        rows: list[Row] = [self._clocks(name, told.clock_skew_seconds), _token(name, told.token_seconds_left)]
        try:
            mine = await vault.call("GET", "auth/token/lookup-self")
            rows += await self._rights(name, vault, [str(each) for each in mine.get("policies") or ()])
            rows.append(await _audit(name, vault))
        except ServiceError as error:
            rows.append((name, False, _said(error)))
        return rows

    @staticmethod
    def _clocks(name: str, skew: float | None) -> Row:
        if skew is None:
            return f"{name} clock", True, "unknown"
        return f"{name} clock", abs(skew) <= _SKEW, f"{skew:+.1f} s"

    async def _rights(self, name: str, vault: Vault, names: list[str]) -> list[Row]:
        """The token's policies are ours, and say what they should."""
        policies, strange = self._ours(vault, names)
        rows: list[Row] = []
        if strange or not policies:
            rows.append((f"{name} policies", False, f"{_code('keys.strange_policies')}: {', '.join(strange) or '–'}"))
        if not policies:
            return rows
        wrong = await _drift(vault, policies)
        told = f"{_code('keys.policy_drift')}: {', '.join(wrong)}" if wrong else "as generated"
        shown = ", ".join(f"{each.name} {each.sha256[:12]}" for each in policies)
        return [*rows, (f"{name} rights", not wrong, f"{told} ({shown})")]

    def _ours(self, vault: Vault, names: list[str]) -> tuple[list[Policy], list[str]]:
        mounts, found, strange = self.settings.transit_mounts.split(","), [], []
        for each in names:
            identity, _, agency = each.removeprefix("dauso-").partition("-")
            if each.startswith("dauso-") and identity in set(Identity):
                found.append(policy_for(Identity(identity), mounts, agency))
            else:
                strange.append(each)
        return found, strange

    async def _decided(self, store: TransitKeyStore) -> list[Row]:
        """The digest that two administrators decided is that of what this release generates."""
        async with self.db.read() as uow:
            decided = await Policies(self.clock).decided(uow, self.realm, store.name)
        if not decided:
            return []
        mounts = self.settings.transit_mounts.split(",")
        now = bundle_sha256([policy_for(each, mounts) for each in Identity])
        return [("transit policies decided", decided == now, f"{decided[:12]}, generated {now[:12]}")]

    async def _reconciled(self) -> list[Row]:
        """How far keys are reconciled, and whether what was found waits for somebody; nothing where there is no such store."""
        if not any(isinstance(store, TransitKeyStore) for store in self.keys.all()):
            return []
        async with self.db.read() as uow:
            standing = await looks.standing(uow, self.clock.now())
        if standing is None:
            return [("key reconciliation", True, "never run (dauso audit keys)")]
        until = timestamp_text(standing.until)
        rows: list[Row] = [("key reconciliation", True, f"up to {until}")]
        if standing.overdue:
            told = _code("keyuse.overdue", at=until, hours=LIMITS["keyuse.overdue_hours"])
            rows = [("key reconciliation", False, told)]
        if standing.waiting:
            rows.append(("key findings", False, _code("keyuse.findings_wait", count=standing.waiting)))
        return rows

    # -------------------------------------------------------------------------------------------------- credentials
    async def _credentials(self) -> list[Row]:
        """Every key in use: there, its certificate's, its registry's; a row for each that is not well, a sum for the rest."""
        credentials = Credentials(self.clock)
        async with self.db.read() as uow:
            t = credential_table.c
            ids = (await uow.execute(sa.select(t.id).where(t.state == "active").order_by(t.id))).scalars().all()
            found = [await credentials.get(uow, each) for each in ids]
            origins = await Imports(self.clock).origins(uow)
        here = {store.name for store in self.keys.all()}
        ours = [each for each in found if each.key.store in here]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(credential: Credential) -> list[Row]:
            async with turns:
                return await self._credential(credential)

        rows = [row for rows in await asyncio.gather(*map(one, ours)) for row in rows]
        came = {_named(each): origins.get(place(each.key)) for each in ours}
        rows += [(name, True, origin.said) for name, origin in came.items() if origin is not None]
        # what is in a store that is not configured can be used by nobody; a provider's keys are its own affair
        rows += [
            (f"keys in {store}", False, _code("key.no_such_store", store=store))
            for store in sorted({c.key.store for c in found if c.key.store in _KNOWN} - here)
        ]
        sums = Counter(each.key.purpose.value for each in ours)
        total = ", ".join(f"{count} {purpose}" for purpose, count in sorted(sums.items()))
        return [*rows, ("keys", all(good for _, good, _ in rows), total or "none")]

    async def _credential(self, credential: Credential) -> list[Row]:
        name = _named(credential)
        try:
            await self._require_same(credential)
        except ServiceError as error:
            return [(name, False, _said(error))]
        return list(self._dates(name, credential))

    async def _require_same(self, credential: Credential) -> None:
        """Store, certificate and registry mean one public key. Raises ``key.*``, ``credential.wrong_key``."""
        ref = credential.key
        if await self.keys.public_key(ref) != ref.spki:
            raise NotFound("key.missing", key=ref.name)
        if credential.certificate is not None and Certificate.parse(credential.certificate).spki != ref.spki:
            raise Broken("credential.wrong_key")
        async with self.db.read() as uow:
            try:
                known = await Registry(self.clock).find(uow, ref)
            except NotFound:  # the registry is filled when a signer starts
                return
        if known.ref.spki != ref.spki:
            raise Broken("key.damaged", key=ref.name)
        if known.state is not KeyState.ACTIVE:
            raise Refused(f"key.{'stopped' if known.state is KeyState.STOPPED else 'disabled'}", key=ref.name)

    def _dates(self, name: str, credential: Credential) -> Iterable[Row]:
        if credential.certificate is None:
            return
        end = Certificate.parse(credential.certificate).not_after
        left = (end - self.clock.now()).days
        if left < LIMITS["keys.end_days"]:
            yield name, left >= 0, f"certificate ends {end.astimezone(VIETNAM):%d/%m/%Y}: {left} days"


_KNOWN: Final = frozenset({"software", "transit", "pkcs11"})


def _named(credential: Credential) -> str:
    return f"key {credential.key.purpose}/{credential.key.name}"


def _token(name: str, left: float | None) -> Row:
    if left is None:
        return f"{name} token", True, "without end, or unknown"
    return f"{name} token", left > 0, f"{left:.0f} s left"


async def _drift(vault: Vault, policies: list[Policy]) -> list[str]:
    """Names of paths or policies that are not as generated. By text where the token may read policies, else by asking
    the server what the token may do at each path.
    """
    paths = [f"sys/policies/acl/{each.name}" for each in policies]
    may = await _capabilities(vault, paths)
    if all("read" in may.get(path, ()) for path in paths):
        texts = [str((await vault.call("GET", path)).get("policy", "")) for path in paths]
        return [each.name for each, text in zip(policies, texts, strict=True) if not same_text(each, text)]
    expected: dict[str, set[str]] = {}
    for policy in policies:
        for probe in policy.probes():
            expected.setdefault(probe.path, set()).update(probe.may)
    told = await _capabilities(vault, list(expected))
    return [path for path, rights in expected.items() if _as_one(rights) != set(told.get(path, ()))]


def _as_one(rights: set[str]) -> set[str]:
    """A token with several policies: what one denies is denied."""
    return {"deny"} if "deny" in rights else rights


async def _capabilities(vault: Vault, paths: list[str]) -> dict[str, list[str]]:
    answer = await vault.call("POST", "sys/capabilities-self", {"paths": paths})
    return {path: list(answer.get(path) or ()) for path in paths}


async def _audit(name: str, vault: Vault) -> Row:
    """How many audit devices there are, where the token may see it."""
    label = f"{name} audit"
    if not {"read", "sudo"} <= set((await _capabilities(vault, ["sys/audit"]))["sys/audit"]):
        return label, True, "unknown: this identity may not look (dauso keys ceremony does)"
    count = len(await vault.call("GET", "sys/audit"))
    return label, count > 0, f"{count} devices" + (f" · {_code('keys.one_audit')}" if count == 1 else "")


def _both(code: str, **values: object) -> str:
    return f"{sentence(code, **values)} / {sentence(code, 'en', **values)}"


def _code(code: str, **values: object) -> str:
    return f"{_both(code, **values)} ({code})"


def _said(error: ServiceError) -> str:
    return f"{error.say('vi')} / {error.say('en')} ({error.code})"
