"""Limits on size, count, time and depth, in one table (docs/reference/limits.md is compared with it by a test)."""

from typing import Final

__all__ = ["LIMITS"]

LIMITS: Final[dict[str, int]] = {
    "intake.bytes": 200 * 1024 * 1024,  # one file given by a clerk
    "intake.pages": 300,
    "intake.pixels": 200_000_000,  # one image or page; 100 000 × 100 000 is refused from its header
    "intake.warn_dpi": 200,  # Decree 30/2020 Appendix I: digitised papers at 200 dpi or more
    "sandbox.memory_bytes": 2 * 1024 * 1024 * 1024,
    "sandbox.cpu_seconds": 60,
    "sandbox.wall_seconds": 90,
    "verify.bytes": 256 * 1024 * 1024,
    "verify.signatures": 64,
    "verify.revisions": 128,
    "qr.cose_bytes": 600,
    "qr.key_days": 400,  # a seal key's life; its papers stay checkable afterwards
    "qr.list_hours": 24,  # after that a public list reads as old
    "outbound.bytes": 10 * 1024 * 1024,
    "outbound.connect_seconds": 5,
    "outbound.total_seconds": 15,
    "log.leaf_bytes": 65_535,
    "log.batch": 2_048,
    "activation.seconds": 600,
    "activation.documents": 100,
    "copies.per_number": 100,
    "copies.check_here_bytes": 1024 * 1024,  # a finished copy up to this size is checked without a child of its own
    "ca.answer_seconds": 60,  # a signed status answer is given again while the database still says the same
    # uses a day of each key that works without a person's approval (signer/keystores/budget.py)
    "budget.qr": 20_000,
    "budget.log": 200_000,
    "budget.tsa": 200_000,
    "budget.ocsp": 200_000,
    "budget.list": 20_000,
    "budget.ca": 20_000,
    "budget.lease": 50,
    "jobs.at_once": 4,  # recovered work must not take all memory at a restart
    "jobs.settle_seconds": 60,  # how long a command waits at its end for work it took over
}
