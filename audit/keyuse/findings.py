"""Findings of a run, gathered: the same code, key, caller and thing is one finding with a count, however many lines say so."""

import datetime as dt
from dataclasses import replace

from audit.keyuse.model import Call, Cause, Finding, KeyVersion, Operation, Severity
from core.limits import LIMITS

__all__ = ["Findings"]

_ORDER = list(Severity)


class Findings:
    """Bounded: when there are too many different ones, further ones are counted by their code alone."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Finding] = {}
        self._saved: list[Finding] = []

    def add(self, code: str, severity: Severity, *, what: str = "", at: dt.datetime | None = None) -> None:
        """Of no key."""
        self.put(Finding(code=code, severity=severity, key=None, what=what, first_at=at, last_at=at))

    def call(self, code: str, severity: Severity, call: Call, ref: str = "") -> None:
        """Of a call."""
        self.put(
            Finding(
                code=code, severity=severity, key=call.key, what=ref, who=call.who, first_at=call.at, last_at=call.at,
                requests=(call.request,),
            )
        )  # fmt: skip

    def cause(self, code: str, severity: Severity, cause: Cause) -> None:
        """Of an order or a use."""
        self.put(
            Finding(code=code, severity=severity, key=cause.key, what=cause.id, first_at=cause.at, last_at=cause.at)
        )

    def operation(self, code: str, severity: Severity, item: Operation, ref: str = "") -> None:
        """Of another operation."""
        key = KeyVersion(item.place, item.name, 0)
        what = f"{item.kind} {ref}".strip()
        self.put(
            Finding(
                code=code, severity=severity, key=key, what=what, who=item.who, first_at=item.at, last_at=item.at,
                requests=(item.request,),
            )
        )  # fmt: skip

    def put(self, finding: Finding) -> None:
        """One more."""
        mark = (finding.code, finding.severity.value, *map(str, finding.key or ()), finding.what, finding.who)
        if mark not in self._found and len(self._found) >= LIMITS["keyuse.findings"]:
            finding = replace(finding, key=None, what="", who="")
            mark = (finding.code, finding.severity.value)
        known = self._found.get(mark)
        self._found[mark] = finding if known is None else _joined(known, finding)

    def all(self) -> list[Finding]:
        """Those since the last save, gravest first."""
        return sorted(self._found.values(), key=lambda f: (_ORDER.index(f.severity), f.code, str(f.first_at)))

    def keep_counting(self) -> None:
        """What there is has been saved."""
        self._saved += self.all()
        self._found = {}

    def everything(self) -> list[Finding]:
        """Of the whole run."""
        return sorted(
            [*self._saved, *self._found.values()], key=lambda f: (_ORDER.index(f.severity), f.code, str(f.first_at))
        )


def _joined(known: Finding, more: Finding) -> Finding:
    times = [at for each in (known, more) for at in (each.first_at, each.last_at) if at is not None]
    requests = (known.requests + more.requests)[: LIMITS["keyuse.requests_named"]]
    return replace(
        known, count=known.count + more.count, first_at=min(times, default=None), last_at=max(times, default=None),
        requests=requests,
    )  # fmt: skip
