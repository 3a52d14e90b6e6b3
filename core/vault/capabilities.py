"""OpenBao or Vault: one record of what differs. We speak the subset both share and ask this record for the rest."""

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["UNKNOWN", "Capabilities", "capabilities_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Sources: OpenBao 2.6.2 and Vault 1.21.4 (both run); of Vault Enterprise its documentation."""

    product: str
    """``openbao``, ``vault`` or empty while nobody has answered."""
    version: str
    ed25519_prehashed: bool
    """Whether ``prehashed`` with Ed25519 gives Ed25519ph; OpenBao ignores the member and signs the input as it is, Vault refuses."""
    pagination: bool
    """LIST takes ``after`` and ``limit``."""
    namespaces: bool
    soft_delete: bool
    """Transit keys can be put aside and brought back."""


UNKNOWN = Capabilities(
    product="", version="", ed25519_prehashed=False, pagination=False, namespaces=False, soft_delete=False
)


def capabilities_of(health: dict[str, Any]) -> Capabilities:
    """From the answer of ``sys/health``. Vault's names performance standbys there, OpenBao has none."""
    version = str(health.get("version", ""))[:40]
    number = _number(version)
    if "performance_standby" in health or "enterprise" in health:
        enterprise = bool(health.get("enterprise")) or "+ent" in version
        return Capabilities(
            product="vault", version=version, ed25519_prehashed=enterprise and number >= (1, 19), pagination=False,
            namespaces=enterprise, soft_delete=False,
        )  # fmt: skip
    if not version:
        return UNKNOWN
    return Capabilities(
        product="openbao", version=version, ed25519_prehashed=False, pagination=True, namespaces=number >= (2, 3),
        soft_delete=number >= (2, 3),
    )  # fmt: skip


def _number(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})", version, re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)
