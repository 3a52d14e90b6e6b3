"""One run: read what is new in a device's files, compare it with our causes, store what was found.

Steps as in ``docs/flows/audit-keys.md``.

What a crash means: a run stores nothing before it ends, or before ``keyuse.part_bytes`` more have been read; then all of it in one
transaction. So a run that was cut short is done again from where the one before stopped.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.keyuse.findings import Findings
from audit.keyuse.hashing import Hashes
from audit.keyuse.lines import LOGINS, LineReader
from audit.keyuse.matching import Matcher
from audit.keyuse.model import Call, Cause, CauseSource, Doubt, Finding, Operation, Severity, Signal
from audit.keyuse.reading import Place, Series, group
from audit.keyuse.store import Last, Saved, last_run, save
from audit.keyuse.streams import Page, Stream
from core.clock import Clock
from core.db import Database
from core.errors import BadInput, Refused
from core.ids import new_id
from core.limits import LIMITS
from core.logs import logger

__all__ = ["Progress", "Rules", "RunReport", "reconcile_keys"]

Progress = Callable[[int, int], None]
"""(bytes read, bytes there are)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is ours in the store."""

    device: str
    """The audit device whose file is read: ``sys/audit-hash/<device>``."""
    mounts: frozenset[str]
    """As key references name them, without slashes at the ends."""
    namespace: str = ""
    """In which they lie."""
    signers: frozenset[str]
    """Entity ids, role names or display names that may sign."""
    logins: Mapping[str, str] = field(default_factory=lambda: LOGINS)
    """Mount of a way in → the member of a token's metadata that names the role."""
    live: bool = False
    """The server writes these very files, so what they do not hold did not happen; a copy of them may lag behind."""


@dataclass(slots=True, kw_only=True)
class RunReport:
    """What a run found. ``complete``: it came to the end of what there was."""

    id: str
    since: dt.datetime
    until: dt.datetime
    """Everything up to here has been compared."""
    complete: bool = False
    late: bool = False
    """That is longer ago than ``keyuse.late_seconds``: nothing is proven about the time since."""
    counts: dict[str, int] = field(default_factory=dict)
    """``bytes``, ``lines``, ``calls``, ``matched``, ``causes``, ``hashes``, ``waiting``."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """No finding but notes."""
        return all(each.severity is Severity.NOTE for each in self.findings)


async def reconcile_keys(
    *, db: Database, clock: Clock, files: Sequence[Path], hashes: Hashes, source: CauseSource, rules: Rules,
    since: dt.datetime | None = None, again: bool = False, progress: Progress = lambda _done, _all: None,
) -> RunReport:  # fmt: skip
    """Go on from the last run of the device, or with ``again`` prove files anew. ``since``: where a first run, or one again, begins.

    Raises ``keyuse.no_files``, ``keyuse.nothing_to_read``, ``keyuse.run_overtaken``, ``cli.no_such_file``, ``vault.*``.
    """
    if not files:
        raise BadInput("keyuse.no_files")
    last = Last.none() if again else await last_run(db, rules.device)
    run = _Run(db=db, clock=clock, hashes=hashes, source=source, rules=rules, last=last, again=again)
    await run.begin(await asyncio.to_thread(group, files), since)
    await run.read(progress)
    return await run.end()


class _Run:
    def __init__(
        self, *, db: Database, clock: Clock, hashes: Hashes, source: CauseSource, rules: Rules, last: Last, again: bool
    ) -> None:
        self.db, self.clock, self.hashes, self.source, self.rules = db, clock, hashes, source, rules
        self.last, self.again = last, again
        self.reader = LineReader(rules.mounts, rules.signers, rules.namespace, rules.logins)
        self.findings = Findings()
        self.streams: list[Stream] = []
        self.counts = dict.fromkeys(("bytes", "lines", "calls", "matched", "causes", "hashes", "waiting"), 0)
        self.began = clock.now()
        self.unsaved = 0
        self.wanted = 0
        """Causes that may bring a call."""

    # 1 where both sides stand

    async def begin(self, all_series: Sequence[Series], since: dt.datetime | None) -> None:
        for series in all_series:
            await self._plan(series)
        horizon = dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"])
        first = min((p.file.began for s in self.streams for p in s.pieces), default=None)
        if self.last.until is not None:
            self.since = self.last.until
            self.caused = dt.datetime.fromisoformat(self.last.carry.get("caused", self.last.until.isoformat()))
        elif first is None:
            raise Refused("keyuse.nothing_to_read")
        else:
            first = min(first, self.began)
            self.since = max(since, first) if since is not None else first
            self.caused = self.since - horizon
            for stream in self.streams:
                stream.skip_until = self.since if since is not None else None
        end = self.began - dt.timedelta(seconds=LIMITS["keyuse.settle_seconds"])
        memory = self.last.carry.get("memory", {})
        self.until = await self.source.begin(self.caused, end, memory)
        self.short = self.until < end
        self.start = dt.datetime.fromisoformat(self.last.carry.get("start", self.since.isoformat()))
        self.checked = dt.datetime.fromisoformat(self.last.carry.get("checked", self.since.isoformat()))
        self.matcher = Matcher(self.hashes, self.start)
        self.matcher.load(self.last.carry.get("matching", {}))
        self.reader.load(self.last.carry.get("reader", {}))

    async def _plan(self, series: Series) -> None:
        places = [p for p in self.last.places if p.series == series.name] or await asyncio.to_thread(
            self._moved, series
        )
        plan = await asyncio.to_thread(series.plan, places)
        at = max((place.at for place in places), default=None)
        for code, name in plan.problems:
            self.findings.add(code, Severity.CRITICAL, what=name, at=at)
        stream = Stream(series, plan.pieces, at)
        if at is not None and any(code == "keyuse.stretch_missing" for code, _ in plan.problems):
            stream.skip_until = at + dt.timedelta(microseconds=1)
        if at is None and self.last.until is not None and plan.pieces:
            began = min(piece.file.began for piece in plan.pieces)
            grave = Severity.NOTE if began >= self.last.until else Severity.WARNING
            self.findings.add("keyuse.series_new", grave, what=series.live.name, at=began)
            stream.skip_until = self.last.until
        self.streams.append(stream)

    def _moved(self, series: Series) -> list[Place]:
        """Places of a series that was read under another name."""
        heads = {part.head for part in series.parts()[0]} if self.last.places else set()
        known = {place.series for place in self.last.places if place.head in heads}
        return [place for place in self.last.places if place.series in known]

    # 2 read

    async def read(self, progress: Progress) -> None:
        total = max(1, sum(max(0, p.file.size - p.offset) for s in self.streams for p in s.pieces))
        try:
            while open_streams := [s for s in self.streams if not s.done]:
                stream = min(open_streams, key=lambda s: s.at or self.since)
                page = await asyncio.to_thread(stream.page, self.reader, self.until, self.clock.now())
                self._take(page)
                await self._compare(page.items)
                progress(min(self.counts["bytes"], total), total)
                if self.unsaved >= LIMITS["keyuse.part_bytes"]:
                    await self._part()
        finally:
            for stream in self.streams:
                stream.close()

    def _take(self, page: Page) -> None:
        self.counts["lines"] += page.lines
        self.counts["bytes"] += page.size
        self.unsaved += page.size
        for problem in page.problems:
            self.findings.put(problem)

    # 3 compare

    def _read_until(self) -> dt.datetime:
        """Up to when the files of all servers are known."""
        stand = [s.stands(self.until, live=self.rules.live) or (None if s.done else self.since) for s in self.streams]
        return min((each for each in stand if each is not None), default=self.since)

    async def _compare(self, items: list[Call | Operation]) -> None:
        read_until = self._read_until()
        horizon = dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"])
        items = [*items, *self.reader.unanswered(read_until - horizon)]
        newest = max((item.at for item in items), default=read_until)
        await self._causes(min(self.until, max(newest, read_until) + horizon))
        for item in items:
            if isinstance(item, Call):
                self.counts["calls"] += 1
                self.matcher.add_call(await self._versioned(item))
            else:
                await self._operation(item)
        await self._settle(read_until)

    async def _causes(self, until: dt.datetime) -> None:
        if until <= self.caused:
            return
        async for told in self.source.causes(self.caused, until):
            causes = [each for each in told if isinstance(each, Cause)]
            for finding in (each for each in told if isinstance(each, Finding)):
                self.findings.put(finding)
            self.counts["causes"] += len(causes)
            self.wanted += sum(each.signal is Signal.MAY for each in causes)
            await self.matcher.add_causes(causes)
        self.caused = until

    async def _versioned(self, call: Call) -> Call:
        """An answer that is missing or wrapped tells no version; asked for as a string it is one of a few."""
        if call.key.version or not call.asked:
            return call
        for version in range(1, LIMITS["keyuse.versions"] + 1):
            if await self.hashes.shown(str(version)) == call.asked:
                return call._replace(key=call.key._replace(version=version))
        return call

    async def _operation(self, item: Operation) -> None:
        if item.kind == "sign_refused":
            if not item.known:
                self.findings.operation("keyuse.refused_attempt", Severity.WARNING, item)
        elif item.kind == "sign":
            self.findings.operation("keyuse.foreign_caller", Severity.CRITICAL if item.done else Severity.WARNING, item)
        elif permit := await self.source.permitted(item, self.hashes):
            self.findings.operation(permit.code, Severity.NOTE, item, ref=permit.ref)
        elif item.kind == "rules" and item.done:
            self.findings.operation("keyuse.rules_changed", Severity.WARNING, item)
        else:
            code = "keyuse.forbidden_operation" if item.done else "keyuse.forbidden_attempt"
            self.findings.operation(code, Severity.CRITICAL if item.done else Severity.WARNING, item)

    async def _settle(self, calls_until: dt.datetime) -> None:
        settled = self.matcher.settle(self.caused, calls_until)
        for unmet in settled.unmet:
            self.findings.cause("keyuse.made_without_call", Severity.CRITICAL, unmet)
        if settled.unused:
            judged = await self.source.result_of(settled.unused)
            for use, (doubt, _) in zip(settled.unused, judged, strict=True):
                if doubt is Doubt.STORED:
                    self.findings.cause("keyuse.made_without_call", Severity.CRITICAL, use)
        if settled.calls:
            judged = await self.source.explain(settled.calls, self.hashes)
            for call, (doubt, ref) in zip(settled.calls, judged, strict=True):
                self._lonely(call, doubt, ref)

    def _lonely(self, call: Call, doubt: Doubt, ref: str) -> None:
        match doubt:
            case Doubt.TWICE:
                self.findings.call("keyuse.signed_twice", Severity.CRITICAL, call, ref)
            case Doubt.CRASH:
                self.findings.call("keyuse.lost_with_crash", Severity.WARNING, call, ref)
            case _:
                self.findings.call("keyuse.call_without_intent", Severity.CRITICAL, call)

    # 4 store

    async def end(self) -> RunReport:
        await self._causes(self.until)
        await self._compare([])
        for finding in await self.source.counterparts(self.checked, self.until):
            self.findings.put(finding)
        self.checked = self.until
        if self.short:
            self.findings.add("keyuse.not_all_durable", Severity.NOTE, at=self.until)
        if self.again:
            return await self._save("again")
        self._silence()
        late = self.began - self._compared() > dt.timedelta(seconds=LIMITS["keyuse.late_seconds"])
        if late:
            self.findings.add("keyuse.compared_late", Severity.WARNING, at=self._compared())
        return await self._save("whole", late=late)

    def _compared(self) -> dt.datetime:
        return min(self.caused, self._read_until())

    def _silence(self) -> None:
        """Files in which nothing is written any more."""
        long = dt.timedelta(hours=LIMITS["keyuse.silent_hours"])
        nothing = self.wanted > 0 and not any(stream.read for stream in self.streams)
        for stream in self.streams:
            if not stream.read and not stream.younger and stream.at and (nothing or self.began - stream.at > long):
                self.findings.add("keyuse.nothing_new", Severity.WARNING, what=stream.series.live.name, at=stream.at)

    async def _part(self) -> None:
        """A long run, saved on its way. One again is not: nothing goes on from it."""
        self.unsaved = 0
        if not self.again:
            await self._save("part")

    async def _save(self, state: str, *, late: bool = False) -> RunReport:
        found = self.findings.all()
        self.counts |= {
            "matched": self.matcher.matched, "hashes": self.hashes.asked, "waiting": self.matcher.size,
        }  # fmt: skip
        carry = {
            "matching": self.matcher.dump(), "reader": self.reader.dump(), "memory": self.source.remember(),
            "start": self.start.isoformat(), "checked": self.checked.isoformat(), "caused": self.caused.isoformat(),
        }  # fmt: skip
        run = Saved(
            id=new_id(self.clock), device=self.rules.device, before=self.last.id, state=state, began_at=self.began,
            ended_at=self.clock.now(), since=self.since, until=self._compared(), counts=dict(self.counts), carry=carry,
            places=[] if self.again else [(p, self.last.place_ids.get(p.head)) for s in self.streams for p in s.places.values()],
            findings=found,
        )  # fmt: skip
        placed = await save(self.db, self.clock, run)
        for stream in self.streams:
            stream.places.clear()
        self.last = Last(
            id=run.id, until=run.until, carry=carry, places=[], place_ids={**self.last.place_ids, **placed}
        )  # fmt: skip
        for each in found:
            if each.severity is not Severity.NOTE:
                logger().error("keyuse.finding", id=run.id, code=each.code, kind=each.severity.value, count=each.count)
        if state == "part":
            self.findings.keep_counting()
        complete = state != "part"
        return RunReport(
            id=run.id, since=self.since, until=run.until, complete=complete, late=late, counts=run.counts,
            findings=self.findings.everything(),
        )  # fmt: skip
