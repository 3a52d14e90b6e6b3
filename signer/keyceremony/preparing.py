"""Preparing OpenBao or Vault for Dauso: mounts, policies, identities, each looked at before it is touched.

Everything may be repeated: what is as it should be stays. What differs is not simply overwritten: another kind of mount, or
a policy that two administrators did not decide, ends the ceremony.

The operator's token does all of it and is the only thing here that could read or break something; nothing of the service's
own is used, and nothing of the operator's is kept.
"""

import datetime as dt
import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.errors import Conflict, NotFound, Refused
from core.limits import LIMITS
from signer.keyceremony.operator import Operator
from signer.keyceremony.paper import keep
from signer.keyceremony.protocol import Outcome, Protocol
from signer.keystores.policies import Identity, Policy, bundle_sha256, policy_for, same_text
from signer.keystores.prepared import AUTH, LOGINS, NO_UPSERT, cache, mounted, reload, role

__all__ = ["Handed", "Preparation", "look_over", "require_bundle"]

_TOLD: Final[dict[str, tuple[str, str]]] = {
    "made": ("mới tạo", "made"), "same": ("đã đúng", "as it should be"), "changed": ("đã đổi", "changed"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What an identity's process is given: both are files, mode 0600."""

    identity: Identity
    role: str
    role_id: str
    secret_id_file: Path
    """Holds a wrapping token: good once, until ``until``."""
    until: dt.datetime


def require_bundle(policies: Sequence[Policy], decided: str) -> None:
    """Where two administrators decided a digest, only those policies are loaded. Raises ``keys.policy_not_decided``."""
    if decided and bundle_sha256(policies) != decided:
        raise Refused("keys.policy_not_decided", sha256=bundle_sha256(policies))


@dataclass(slots=True, kw_only=True)
class Preparation:
    """One run over one server; each step goes into the protocol."""

    operator: Operator
    protocol: Protocol
    mounts: tuple[str, ...]
    agency: str = ""
    decided: str = ""
    """Digest that two administrators decided for the policies; empty where nothing was decided yet."""
    cidrs: tuple[str, ...] = ()
    """Networks that identities may log in from; empty for any."""

    async def run(self, folder: Path, identities: Sequence[Identity]) -> list[Handed]:
        """All steps; wrapped secret ids of ``identities`` are written into ``folder``. Raises ``vault.*``, ``keys.*``."""
        await self._server()
        await self._token()
        for mount in self.mounts:
            await self._mount(mount)
        await self._audit()
        policies = self.policies()
        await self._policies(policies)
        await self._auth()
        for policy in policies:
            if policy.identity is not Identity.WEB:
                await self._role(policy)
        return [await self._hand_over(folder, policy) for policy in policies if policy.identity in identities]

    async def lend(self, folder: Path, roles: Collection[str]) -> None:
        """To this ceremony itself, which signs its protocol beside a signer that keeps what was handed to it. Raises ``vault.*``."""
        for policy in self.policies():
            if policy.name in roles:
                await self._hand_over(folder, policy)

    def policies(self) -> list[Policy]:
        """Of every identity."""
        return [policy_for(each, self.mounts, self.agency) for each in Identity]

    # ------------------------------------------------------------------------------------------------------ the server
    async def _server(self) -> None:
        with self.protocol.step(("Máy chủ trả lời, đã mở niêm", "The server answers and is unsealed")) as facts:
            server = await self.operator.product()
            facts.append((("Sản phẩm", "Product"), f"{server.product or '?'} {server.version}"))
            self.protocol.product = f"{server.product} {server.version}"

    async def _token(self) -> None:
        """A root token is said: with self-initialisation none is needed, and one that is used has to be revoked."""
        what = ("Thẻ truy cập của người vận hành", "The operator's token")
        with self.protocol.step(what) as facts:
            found = await self.operator.call("GET", "auth/token/lookup-self")
            names = [str(each) for each in found.get("policies") or ()]
            facts.append((("Chính sách của thẻ", "Its policies"), ", ".join(names) or "–"))
        if "root" in names:
            self.protocol.add(what, Outcome.WARNING, code="keys.root_token")

    async def _mount(self, mount: str) -> None:
        with self.protocol.step((f"Kho con {mount}", f"Mount {mount}")) as facts:
            mounts = await self.operator.call("GET", "sys/mounts")
            found = mounts.get(f"{mount}/")
            if found is not None and found.get("type") != "transit":
                raise Conflict("keys.mount_taken", mount=mount)
            if found is None:
                await self.operator.call("POST", f"sys/mounts/{mount}", mounted())
            facts.append((("Loại transit", "Of kind transit"), _told("made" if found is None else "same")))
            facts.append((("Cấm tạo khóa khi mã hóa", "No key made by encrypting"), await self._no_upsert(mount)))
            facts.append((("Bộ nhớ đệm khóa", "Cache of keys"), await self._cache(mount)))

    async def _no_upsert(self, mount: str) -> str:
        path = f"{mount}/config/keys"
        before = await self.operator.exists(path)
        if before is None:  # Vault keeps it write-only in some releases
            await self.operator.call("POST", path, NO_UPSERT)
            return _told("made")
        if before.get("disable_upsert") is True:
            return _told("same")
        await self.operator.call("POST", path, NO_UPSERT)
        if (await self.operator.call("GET", path)).get("disable_upsert") is not True:
            raise Conflict("keys.not_taken", what=path)
        return _told("changed")

    async def _cache(self, mount: str) -> str:
        """An LRU instead of a map that only grows; the engine reads it when it is loaded again."""
        path, wanted = f"{mount}/cache-config", LIMITS["keys.cache"]
        if int((await self.operator.call("GET", path)).get("size") or 0) == wanted:
            return f"{wanted}, {_told('same')}"
        await self.operator.call("POST", path, cache())
        await self.operator.call("PUT", "sys/plugins/reload/backend", reload(mount))
        return f"{wanted}, {_told('changed')}"

    async def _audit(self) -> None:
        """Without an audit device no call could be matched afterwards; with one alone its failure stops all signing."""
        what = ("Thiết bị ghi kiểm toán", "Audit devices")
        with self.protocol.step(what) as facts:
            devices = await self.operator.call("GET", "sys/audit")
            names = [f"{name.rstrip('/')} ({_kind(value)})" for name, value in sorted(devices.items())]
            facts.append((("Thiết bị", "Devices"), ", ".join(names) or "–"))
            if not names:
                raise Refused("keys.no_audit")
        if len(names) < 2:
            self.protocol.add(what, Outcome.WARNING, code="keys.one_audit")

    # ------------------------------------------------------------------------------------------------------ identities
    async def _policies(self, policies: Sequence[Policy]) -> None:
        with self.protocol.step(("Chính sách của các danh tính", "Policies of the identities")) as facts:
            require_bundle(policies, self.decided)
            facts.append((("SHA-256 của cả bộ", "Digest of the whole set"), bundle_sha256(policies)))
            for policy in policies:
                told = await self._policy(policy)
                facts.append(((policy.name, told), policy.sha256))

    async def _policy(self, policy: Policy) -> str:
        """Loaded where it is missing; one that differs is only replaced where two administrators decided the new one."""
        path = f"sys/policies/acl/{policy.name}"
        found = await self.operator.exists(path)
        if found is not None and same_text(policy, str(found.get("policy", ""))):
            return _told("same")
        if found is not None and not self.decided:
            raise Refused("keys.policy_differs", policy=policy.name)
        await self.operator.call("PUT", path, {"policy": policy.hcl()})
        if not same_text(policy, str((await self.operator.call("GET", path)).get("policy", ""))):
            raise Conflict("keys.not_taken", what=path)
        return _told("made" if found is None else "changed")

    async def _auth(self) -> None:
        with self.protocol.step(("Cách đăng nhập AppRole", "AppRole logins")) as facts:
            found = (await self.operator.call("GET", "sys/auth")).get(f"{AUTH}/")
            if found is not None and found.get("type") != "approle":
                raise Conflict("keys.mount_taken", mount=f"auth/{AUTH}")
            if found is None:
                await self.operator.call("POST", f"sys/auth/{AUTH}", LOGINS)
            facts.append((("Phương thức", "Method"), _told("made" if found is None else "same")))

    async def _role(self, policy: Policy) -> None:
        """The role has the policy's name, and this policy alone."""
        with self.protocol.step((f"Danh tính {policy.name}", f"Identity {policy.name}")) as facts:
            path = f"auth/{AUTH}/role/{policy.name}"
            wanted = role(policy.name, policy.identity, self.cidrs)
            found = await self.operator.exists(path)
            wrong = [] if found is None else _differing(found, wanted)
            if found is None or wrong:
                await self.operator.call("POST", path, wanted)
            told = _told("made" if found is None else "changed" if wrong else "same")
            facts.append((("Vai trò", "Role"), told + (f": {', '.join(wrong)}" if wrong else "")))

    async def _hand_over(self, folder: Path, policy: Policy) -> Handed:
        """A secret id that only who unwraps it sees, in a file of its own; nobody here ever held it."""
        with self.protocol.step((f"Trao thẻ cho {policy.name}", f"Handing over to {policy.name}")) as facts:
            path = f"auth/{AUTH}/role/{policy.name}"
            role_id = str((await self.operator.call("GET", f"{path}/role-id")).get("role_id") or "")
            if not role_id:
                raise NotFound("vault.missing")
            seconds = LIMITS["keys.wrap_hours"] * 3600
            wrapped = await self.operator.wrapped("POST", f"{path}/secret-id", {}, seconds)
            file = folder / f"{policy.name}.secret-id"
            file.unlink(missing_ok=True)  # an older one may have been used: a new token takes its place
            keep(file, wrapped.token.encode())
            until = self.protocol.clock.now() + dt.timedelta(seconds=wrapped.seconds)
            facts.append((("Tệp", "File"), file.name))
        return Handed(
            identity=policy.identity, role=policy.name, role_id=role_id, secret_id_file=file, until=until
        )  # fmt: skip


async def look_over(
    operator: Operator, protocol: Protocol, policies: Sequence[Policy], cidrs: Collection[str] = ()
) -> None:
    """Read only: audit devices, policies and roles as the server has them. ``cidrs``: as they were given to ``keys init``.

    Raises ``keys.policy_differs``, ``keys.role_differs``, ``keys.no_audit``, ``vault.*``.
    """
    with protocol.step(("Máy chủ: kiểm toán, chính sách, vai trò", "The server: audit, policies, roles")) as facts:
        devices = await operator.call("GET", "sys/audit")
        names = [f"{name.rstrip('/')} ({_kind(value)})" for name, value in sorted(devices.items())]
        facts.append((("Thiết bị ghi kiểm toán", "Audit devices"), ", ".join(names) or "–"))
        if not names:
            raise Refused("keys.no_audit")
        facts.append((("SHA-256 của cả bộ", "Digest of the whole set"), bundle_sha256(policies)))
        for policy in policies:
            found = await operator.exists(f"sys/policies/acl/{policy.name}")
            if found is None or not same_text(policy, str(found.get("policy", ""))):
                raise Refused("keys.policy_differs", policy=policy.name)
            facts.append(((policy.name, await _look_at_role(operator, policy, cidrs)), policy.sha256))


async def _look_at_role(operator: Operator, policy: Policy, cidrs: Collection[str]) -> str:
    """One may be missing: who logs in by certificate or as a pod has none here. Raises ``keys.role_differs``."""
    found = await operator.exists(f"auth/{AUTH}/role/{policy.name}")
    if found is None:
        return "role: –"
    wanted = {} if policy.identity is Identity.WEB else role(policy.name, policy.identity, cidrs)
    wrong = _differing(found, wanted) if wanted else ["role"]
    if wrong:
        raise Refused("keys.role_differs", role=policy.name, what=", ".join(wrong))
    return f"role: {_told('same')}"


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of a role's settings that are not as they should be."""
    return sorted(name for name, value in wanted.items() if _plain(found.get(name)) != _plain(value))


def _plain(value: Any) -> Any:
    """A server writes nothing for an empty list, and one address with or without the length of its network."""
    return sorted(map(_network, value)) if isinstance(value, list) and value else value or None


def _network(text: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(text)))
    except ValueError:
        return str(text)


def _kind(value: Any) -> str:
    return str(value.get("type", "?")) if isinstance(value, Mapping) else "?"


def _told(word: str) -> str:
    return " / ".join(_TOLD[word])
