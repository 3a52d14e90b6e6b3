"""Process roles: what a process may hold, and what it may write. ``bootstrap`` builds only that."""

from enum import StrEnum
from typing import Final

from audit.keyuse.records import WRITES
from core.db import metadata

__all__ = ["AUDITOR_READS", "AUDITOR_WRITES", "WEB_HIDDEN", "WEB_WRITES", "ProcessRole", "hidden_from_auditor"]


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


WEB_WRITES: Final = frozenset({
    "access_token", "batch", "client_assertion", "copy_request", "desk_challenge", "desk_session", "idempotent_answer",
    "login_passkey", "upload", "upload_part",
    "webhook_attempt", "webhook_delivery", "webhook_endpoint", "webhook_secret",
})  # fmt: skip
"""Tables that the roles without keys may write. No activation, order, signature, register, log or directory among them.

SQLite refuses the others in the connection itself; on PostgreSQL ``dauso grants`` writes the statements for their user.
"""

WEB_HIDDEN: Final = frozenset({
    "approval_link", "approval_link_subject", "desk_ticket", "enrolment_code", "enrolment_fact", "enrolment_notice",
    "enrolment_objection", "enrolment_run", "enter_challenge", "identity_flow", "key_audit_place", "key_audit_told", "key_use",
    "key_use_life", "page_pass", "passkey_challenge", "person_contact", "person_number", "provider_account",
    "provider_transaction", "timestamp_token",
})  # fmt: skip
"""Tables that those roles may not even read: numbers and addresses of people, links, passes, enrolments under way, uses of keys."""

AUDITOR_WRITES: Final = WRITES
"""What ``dauso audit keys`` may write: what it found; rows are added and none is changed."""

AUDITOR_READS: Final = frozenset({
    "agency", "certified_copy", "credential", "crl_number", "issued_certificate", "key_import", "key_policy", "key_use",
    "key_use_life", "key_work", "log_checkpoint", "log_entry", "log_state", "log_tile", "publication", "register_book",
    "register_entry", "signing_order", "store_key", "timestamp_token",
})  # fmt: skip
"""What it reads beside that: orders, the log, the book, and what service keys made. It opens no key store."""


def hidden_from_auditor() -> frozenset[str]:
    """Every other table."""
    return frozenset(metadata.tables) - AUDITOR_READS - AUDITOR_WRITES
