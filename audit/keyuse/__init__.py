"""Whether every call on a key had its cause: a key store's audit files against what our side wrote down before.

``lines`` reads one line, ``reading`` follows files over rotations, ``hashing`` asks the server how the file shows a value,
``matching`` compares, ``runs`` does it in turns and stores what was found. The rooms above give the causes (``CauseSource``).
"""

from audit.keyuse.hashing import AuditHash, Hashes
from audit.keyuse.model import (
    Call,
    Cause,
    CauseSource,
    Doubt,
    Finding,
    Judgement,
    KeyVersion,
    Operation,
    Permit,
    Severity,
    Signal,
)
from audit.keyuse.runs import Progress, Rules, RunReport, reconcile_keys

__all__ = [
    "AuditHash",
    "Call",
    "Cause",
    "CauseSource",
    "Doubt",
    "Finding",
    "Hashes",
    "Judgement",
    "KeyVersion",
    "Operation",
    "Permit",
    "Progress",
    "Rules",
    "RunReport",
    "Severity",
    "Signal",
    "reconcile_keys",
]
