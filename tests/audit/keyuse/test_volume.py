"""A file shaped like one of several GB, scaled down: constant memory, and a speed that lets a day's file be read in minutes."""

import datetime as dt
import sys
import time

import pytest

from audit.keyuse import Hashes, reconcile_keys
from audit.keyuse.matching import Matcher
from core.db import Database
from core.limits import LIMITS
from tests.audit.keyuse.makers import AT, RULES, Side, ask, at, digest, may, must, noise, sign

CALLS, RATE = 12_000, 20
"""Calls in all, and in a second."""


class Day(Side):
    """Made as it is asked for, as a database gives it."""

    async def causes(self, after, until):
        first = max(0, int((after - AT).total_seconds() * RATE) + 1)
        last = min(CALLS - 1, int((until - AT).total_seconds() * RATE))
        for start in range(first, last + 1, 500):
            yield [
                cause
                for n in range(start, min(start + 500, last + 1))
                for cause in (
                    may(digest(n), ref=f"o{n}", at=at(n / RATE)),
                    must(digest(n), ref=f"o{n}", at=at(n / RATE)),
                )
            ]


@pytest.fixture
def file(tmp_path):
    """Half of it signatures, half other calls; lines as long as real ones."""
    made = tmp_path / "audit.log"
    policies = b'"policies":["default","' + b"x" * 500 + b'"]'
    with made.open("wb") as target:
        for n in range(CALLS):
            lines = sign(digest(n), at=at(n / RATE)) + noise(1, at=at(n / RATE))
            target.write(lines.replace(b'"policies":["default"]', policies))
    return made


async def test_a_large_file_is_read_fast_and_in_constant_memory(
    sqlite_tables, tmp_path, clock, file, monkeypatch, capsys
):
    kept, settle = [], Matcher.settle

    def watched(self, *until):
        kept.append(self.size)
        return settle(self, *until)

    monkeypatch.setattr(Matcher, "settle", watched)
    (tmp_path / "dauso.db").write_bytes(sqlite_tables.read_bytes())
    clock.at = AT + dt.timedelta(hours=5)
    hashes = Hashes(ask)
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'dauso.db'}") as db:
        began = time.perf_counter()
        report = await reconcile_keys(db=db, clock=clock, files=[file], hashes=hashes, source=Day(), rules=RULES)
        took = time.perf_counter() - began
    speed = file.stat().st_size / took / 1e6
    with capsys.disabled():
        sys.stdout.write(f"\n  {file.stat().st_size / 1e6:.0f} MB at {speed:.0f} MB/s, {CALLS / took:.0f} calls/s ")
    assert (report.findings, report.counts["calls"], report.counts["matched"]) == ([], CALLS, CALLS)
    # what is ahead by the horizon waits for its call, and one page of calls: never the whole file
    assert max(kept) <= RATE * LIMITS["keyuse.horizon_seconds"] * 1.1 + 100
    assert speed > 5
