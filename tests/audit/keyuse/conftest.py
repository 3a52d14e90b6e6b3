"""One auditor's look at the files of one device."""

import datetime as dt

import pytest

from audit.keyuse import Hashes, reconcile_keys
from tests.audit.keyuse.makers import AT, RULES, ask


@pytest.fixture
def live(tmp_path):
    return tmp_path / "audit.log"


@pytest.fixture
def look(db, clock, live):
    """One run, an hour after what the files tell unless said otherwise."""

    async def look(side, *files, hours=1, rules=RULES, **more):
        clock.at = max(clock.at, AT) + dt.timedelta(hours=hours)
        report = await reconcile_keys(
            db=db, clock=clock, files=files or (live,), hashes=Hashes(more.pop("asked", ask)), source=side, rules=rules,
            **more,
        )  # fmt: skip
        return report, [(f.code, f.severity.value) for f in report.findings]

    return look
