"""Policies of the store's identities, written by code: what each may do in OpenBao or Vault, and nothing else.

One text for both: what one of them does not have is a path that leads nowhere there.

One identity a duty, so that no token that is stolen can do two things:

* ``web``       nothing: the web process has no role, no token and no way in
* ``signer``    signs with keys that exist, each call naming version and padding; reads public keys
* ``enroller``  makes keys that cannot leave; reads them
* ``auditor``   hashes strings as the audit file does; lists and reads keys
* ``custodian`` takes a key out of use and destroys it. Short-lived, handed out after two administrators decided
* ``importer``  brings in a key wrapped for the store. Short-lived, handed out after two administrators decided

What rests on how the server reads a policy (each tried by ``tests/signer/keystores/test_policies_live.py``):

* ``+`` stands for exactly one whole segment. What no rule names is forbidden; what is denied here stays denied whatever
  another policy on the same token says of the same path, or of a wider one.
* Parameter rules see what a call *sends*, never a default: so what must not be left out is *required*.
* A number never equals a number of a rule: ``key_version`` sent as ``0`` or ``false`` means *the newest* and no list of
  denied values holds it. So it is spelled: a string that begins with 1 to 9 is the only thing that is allowed.
* Vault from 1.21 on reads a string as a list, and ``""`` as an empty one, of which every member is allowed. It means the default: the
  newest version, PSS for RSA. So ``""`` is denied wherever values are named.
* Required parameters are asked for by reads of the path too: they stand only on paths that are never read.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from signer.keystores.transit.naming import mounts_of

__all__ = [
    "SHORT_LIVED", "Identity", "Policy", "Probe", "Rule", "agency_mount", "bundle_sha256", "policy_for", "same_text", "slug",
]  # fmt: skip

Value = str | bool


class Identity(StrEnum):
    """Who asks the store for something."""

    WEB = "web"
    SIGNER = "signer"
    ENROLLER = "enroller"
    AUDITOR = "auditor"
    CUSTODIAN = "custodian"
    IMPORTER = "importer"


SHORT_LIVED: Final = frozenset({Identity.CUSTODIAN, Identity.IMPORTER})
"""Identities that exist for one decision of two administrators."""

KEY_TYPES: Final = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-3072", "rsa-4096")
"""What may be made: keys that sign, none weaker than our own algorithms."""
_VERSIONS: Final = tuple(f"{digit}*" for digit in range(1, 10))
_LATER_VERSIONS: Final = tuple(f"{digits}*" for digits in range(2, 20))
"""All but the first and none: whoever takes a key out of use does not bring it back with the same right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What may be done at one path; without ``may`` nothing may."""

    path: str
    may: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Parameter → its values, never ``""``; none means any. With this no other parameter may be sent."""

    def hcl(self) -> str:
        """One block."""
        lines = [f'path "{self.path}" {{', f"  capabilities = {_list(self.may or ('deny',))}"]
        if self.required:
            lines.append(f"  required_parameters = {_list(self.required)}")
        if self.allowed:
            lines.append("  allowed_parameters = {")
            lines += [f'    "{name}" = {_list(values)}' for name, values in self.allowed.items()]
            lines.append("  }")
        if named := [name for name, values in self.allowed.items() if values]:
            lines.append("  denied_parameters = {")
            lines += [f'    "{name}" = [""]' for name in named]
            lines.append("  }")
        return "\n".join([*lines, "}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A path with what the server must answer when a token asks for its own capabilities there."""

    path: str
    may: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One identity's policy over its mounts."""

    identity: Identity
    mounts: tuple[str, ...]
    agency: str
    """Slug of the agency it is for; empty: for all."""
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        """``dauso-signer``, ``dauso-signer-h1``."""
        return f"dauso-{self.identity}" + (f"-{self.agency}" if self.agency else "")

    def hcl(self) -> str:
        """The text as it is loaded; the same for the same arguments, byte for byte."""
        head = f"# {self.name}: made by `dauso keys policy`; changed by hand it is reported as drift."
        if not self.rules:
            return f"{head}\n# This identity has no way into the store.\n"
        return "\n\n".join([head, *(rule.hcl() for rule in self.rules)]) + "\n"

    @property
    def sha256(self) -> str:
        """Of the text, hexadecimal."""
        return hashlib.sha256(self.hcl().encode()).hexdigest()

    def probes(self) -> list[Probe]:
        """Questions whose answers tell whether a token has these rights: one for each rule, with a name that no key has."""
        return [
            Probe(path=rule.path.replace("+", "dauso-probe").replace("*", "dauso-probe"), may=frozenset(rule.may or ("deny",)))
            for rule in self.rules
        ]  # fmt: skip


def bundle_sha256(policies: Sequence[Policy]) -> str:
    """Of a store's policies together, by name, hexadecimal: what two administrators decide (``store.policy``)."""
    lines = sorted(f"{policy.name} {policy.sha256}\n" for policy in policies)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def same_text(policy: Policy, text: str) -> bool:
    """Whether the server's text is ours; only space at its ends may differ."""
    return text.strip() == policy.hcl().strip()


def agency_mount(code: str) -> str:
    """The mount of an agency that has its own: ``transit-h55-242``. Raises ``key.bad_mounts``."""
    return mounts_of(f"transit-{slug(code)}")[0]


def policy_for(identity: Identity, mounts: Sequence[str], agency: str = "") -> Policy:
    """The policy of ``identity`` over ``mounts``; ``agency``: code of the agency it is for. Raises ``key.bad_mounts``."""
    known = mounts_of(",".join(mounts))
    rules: list[Rule] = []
    if identity is not Identity.WEB:
        for mount in known:
            granted = _granted(identity, mount)
            rules += granted
            named = {rule.path for rule in granted}
            rules += [rule for rule in _denied(mount) if rule.path not in named]
        rules += _OWN_TOKEN
        rules += _AUDIT_HASH if identity is Identity.AUDITOR else []
        rules += _ELSEWHERE
    return Policy(identity=identity, mounts=known, agency=slug(agency) if agency else "", rules=tuple(rules))


def _granted(identity: Identity, mount: str) -> list[Rule]:
    """What the identity needs in one mount, and not more."""
    keys = f"{mount}/keys/+"
    read = Rule(path=keys, may=("read",))
    match identity:
        case Identity.SIGNER:
            return [_signing(mount), read]
        case Identity.ENROLLER:
            return [Rule(path=keys, may=("read", "update"), allowed=_MAKING)]
        case Identity.AUDITOR:
            return [Rule(path=f"{mount}/keys", may=("list",)), read]
        case Identity.CUSTODIAN:
            return _care(mount)
        case Identity.IMPORTER:
            return [
                read,
                Rule(path=f"{mount}/wrapping_key", may=("read",)),
                Rule(path=f"{keys}/import", may=("update",), required=_IMPORT_REQUIRED, allowed=_IMPORTING),
            ]
    return []


def _signing(mount: str) -> Rule:
    return Rule(
        path=f"{mount}/sign/+",
        may=("update",),
        required=("key_version", "signature_algorithm"),
        allowed={
            "key_version": _VERSIONS,
            "signature_algorithm": ("pkcs1v15", "pss"),
            "hash_algorithm": ("sha2-256", "sha2-384"),  # no other name of a hash is let through: no sha1, no "none"
            "salt_length": ("hash",),
            "marshaling_algorithm": ("asn1",),
            "prehashed": (),
            "input": (),
            "batch_input": (),
        },
    )


def _care(mount: str) -> list[Rule]:
    """Out of use: put aside (OpenBao), or signing from a further version on (Vault)."""
    keys = f"{mount}/keys/+"
    settings = {"deletion_allowed": (True, False), "min_encryption_version": _LATER_VERSIONS}
    return [
        # a key that cannot sign takes a destroyed key's name
        Rule(path=keys, may=("delete", "read", "update"), allowed=_MAKING | {"type": ("aes256-gcm96",)}),
        Rule(path=f"{keys}/soft-delete", may=("delete",)),
        Rule(path=f"{keys}/rotate", may=("update",), allowed={"dauso": ()}),
        Rule(path=f"{keys}/config", may=("update",), allowed=settings),
    ]


_MAKING: Final[dict[str, tuple[Value, ...]]] = {
    "type": KEY_TYPES,
    "exportable": (False,),
    "allow_plaintext_backup": (False,),
    "derived": (False,),
    "auto_rotate_period": ("0",),
}
_IMPORT_REQUIRED: Final = ("ciphertext", "type", "allow_rotation")
_IMPORTING: Final[dict[str, tuple[Value, ...]]] = {
    "ciphertext": (),
    "type": KEY_TYPES,
    "hash_function": ("SHA256",),
    "allow_rotation": (True,),
    "exportable": (False,),
    "allow_plaintext_backup": (False,),
}

_FORBIDDEN: Final = (
    "sign/+/sha1",
    "sign/+/+",  # the hash named in the address would go round the rule on parameters
    "keys/+/config",
    "keys/+/csr",  # signs a request of the caller's making
    "keys/+/import",
    "keys/+/import_version",
    "keys/+/rotate",
    "keys/+/set-certificate",
    "keys/+/soft-delete",
    "keys/+/soft-delete-restore",
    "keys/+/trim",
    "export/*",
    "byok-export/*",
    "backup/*",
    "restore",
    "restore/*",
    "wrapping_key",
    "config/*",
    "cache-config",
    "encrypt/*",
    "decrypt/*",
    "rewrap/*",
    "datakey/*",
    "derive-key/*",
    "hmac/*",
    "cmac/*",
)
"""In every mount; what an identity is granted is taken out. The list of the engine's paths is compared by a test."""


def _denied(mount: str) -> list[Rule]:
    return [Rule(path=f"{mount}/{each}") for each in _FORBIDDEN]


_OWN_TOKEN: Final = [
    Rule(path="auth/token/lookup-self", may=("read",)),
    Rule(path="auth/token/renew-self", may=("update",)),
    Rule(path="auth/token/revoke-self", may=("update",)),
    Rule(path="sys/capabilities-self", may=("update",)),
]
_AUDIT_HASH: Final = [Rule(path="sys/audit-hash/+", may=("update",))]
_ELSEWHERE: Final = [Rule(path="sys/*"), Rule(path="auth/*"), Rule(path="identity/*")]


def _list(values: Sequence[Value]) -> str:
    return "[" + ", ".join(str(v).lower() if isinstance(v, bool) else f'"{v}"' for v in values) + "]"


def slug(code: str) -> str:
    """An agency's code as names of mounts and policies hold it."""
    return re.sub(r"[^a-z0-9]+", "-", code.lower()).strip("-")
