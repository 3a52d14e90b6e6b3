"""What a prepared server holds beside keys: one place for who sets it (``dauso keys init``) and who knows it again (``dauso audit keys``).

A call that sets exactly this changes nothing that anybody decided, whoever makes it and however often. So a ceremony needs
to leave no list of its calls behind, and there is none that a thief could put his own into.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from core.limits import LIMITS
from signer.keystores.policies import SHORT_LIVED, Identity, Policy, agency_mount, policy_for, slug

__all__ = ["AUTH", "LOGINS", "NO_UPSERT", "Call", "Prepared", "cache", "mounted", "reload", "role"]

AUTH: Final = "approle"
LOGINS: Final[dict[str, Any]] = {"type": AUTH}
NO_UPSERT: Final[dict[str, Any]] = {"disable_upsert": True}
"""Nobody makes a key by encrypting."""
_NAME: Final = re.compile(rf"dauso-({'|'.join(Identity)})(?:-([a-z0-9-]+))?")


def mounted() -> dict[str, Any]:
    """A mount of ours."""
    return {"type": "transit", "description": "dauso"}


def cache() -> dict[str, Any]:
    """Of keys: an LRU instead of a map that only grows."""
    return {"size": LIMITS["keys.cache"]}


def reload(mount: str) -> dict[str, Any]:
    """The engine reads its cache's size when it is loaded again."""
    return {"mounts": [f"{mount}/"]}


def role(name: str, identity: Identity, cidrs: Collection[str] = ()) -> dict[str, Any]:
    """Service tokens without the default policy; those of short-lived identities end with their decision's act.

    All that makes a role wider is said, also what the server would set by itself: so it is seen when somebody changed it.
    """
    common: dict[str, Any] = {
        "bind_secret_id": True, "token_num_uses": 0, "token_explicit_max_ttl": 0, "token_policies": [name], "token_no_default_policy": True, "token_type": "service",
        "token_bound_cidrs": list(cidrs), "secret_id_bound_cidrs": list(cidrs),
    }  # fmt: skip
    if identity in SHORT_LIVED:
        minutes = LIMITS["keys.short_minutes"] * 60
        return common | {
            "token_ttl": minutes, "token_max_ttl": minutes, "token_period": 0, "secret_id_num_uses": 1, "secret_id_ttl": minutes,
        }  # fmt: skip
    # the secret id outlives the token: a process logs in again with it after a restart of the server
    return common | {
        "token_ttl": 0, "token_max_ttl": 0, "token_period": LIMITS["keys.token_minutes"] * 60, "secret_id_num_uses": 0, "secret_id_ttl": 0,
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What may be sent to one path."""

    body: dict[str, Any]
    bundle: tuple[Policy, ...] = ()
    """Of a policy: the set that it belongs to, which is what two administrators decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A server as this release prepares it."""

    mounts: tuple[str, ...]
    """Of the settings."""
    agencies: frozenset[str] = frozenset()
    """Codes of agencies, which may have a mount of their own."""
    cidrs: tuple[str, ...] = ()
    """Networks that identities are bound to."""

    def calls(self, path: str) -> list[Call]:
        """All that may be sent to it; none for a path that no ceremony touches. ``path``: inside the namespace."""
        roles, acl = f"auth/{AUTH}/role/", "sys/policies/acl/"
        if path.startswith(roles):
            named = self._named(path.removeprefix(roles))
            return [Call(body=role(name, each, self.cidrs)) for name, each, _ in named if each is not Identity.WEB]
        if path.startswith(acl):
            named = self._named(path.removeprefix(acl))
            return [call for _, each, code in named for call in self._policy(each, code)]
        if path == "sys/plugins/reload/backend":
            return [Call(body=reload(mount)) for mount in self._all()]
        bodies = {f"sys/auth/{AUTH}": LOGINS}
        for mount in self._all():
            bodies |= {
                f"sys/mounts/{mount}": mounted(),
                f"{mount}/config/keys": NO_UPSERT,
                f"{mount}/cache-config": cache(),
            }
        return [Call(body=bodies[path])] if path in bodies else []

    def _all(self) -> tuple[str, ...]:
        return (*self.mounts, *(agency_mount(code) for code in sorted(self.agencies)))

    def _named(self, name: str) -> Iterator[tuple[str, Identity, str]]:
        """(name, identity, code of the agency or nothing) where it is a name of ours."""
        found = _NAME.fullmatch(name)
        codes = {slug(code): code for code in self.agencies} | {"": ""}
        if found is not None and (found[2] or "") in codes:
            yield name, Identity(found[1]), codes[found[2] or ""]

    def _policy(self, identity: Identity, code: str) -> Iterator[Call]:
        """An agency's also over the common mounts."""
        for mounts in ((agency_mount(code),), self.mounts) if code else (self.mounts,):
            bundle = tuple(policy_for(each, mounts, code) for each in Identity)
            (policy,) = (each for each in bundle if each.identity is identity)
            yield Call(body={"policy": policy.hcl()}, bundle=bundle)
