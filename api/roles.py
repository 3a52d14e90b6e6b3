"""Process roles: what a process may hold. ``bootstrap`` builds only that."""

from enum import StrEnum

__all__ = ["ProcessRole"]


class ProcessRole(StrEnum):
    """One program, several processes (design §2)."""

    SIGNER = "signer"
    """The only one that opens key stores."""
    WEB = "web"
    """No key store, no key file: register, log and public checks."""
    WORKER = "worker"
    """Background work without keys."""
    VERIFIER = "verifier"
    """Hostile bytes; no secrets, no database."""
