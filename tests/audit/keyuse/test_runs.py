"""Runs over files and the database: incremental, over rotations, with every kind of finding."""

import datetime as dt
import gzip
import json
import shutil
from dataclasses import replace

import pytest

from audit.keyuse import Doubt, Finding, Judgement, Severity, reconcile_keys
from core.errors import BadInput, Refused
from core.limits import LIMITS
from tests.audit.keyuse.makers import (
    KEY,
    RULES,
    Side,
    at,
    digest,
    entry,
    may,
    must,
    noise,
    number,
    shown,
    sign,
)


@pytest.fixture
def laid_url(sqlite_tables, tmp_path):
    """One database is enough here; ``test_store`` uses both."""
    made = tmp_path / "dauso.db"
    shutil.copy(sqlite_tables, made)
    return f"sqlite+aiosqlite:///{made}"


@pytest.mark.parametrize(
    ("data", "causes", "expected"),
    [
        (sign(digest()), [], ("keyuse.call_without_intent", "critical")),
        (sign(digest()) * 1 + noise(), [may(digest(2))], ("keyuse.call_without_intent", "critical")),
        (noise(), [may(), must()], ("keyuse.made_without_call", "critical")),
        (sign(digest()) + sign(digest()), [may(), must()], ("keyuse.call_without_intent", "critical")),
        (sign(digest(), role="thief"), [may()], ("keyuse.foreign_caller", "critical")),
        (entry(path="transit/export/x/k", operation="read", answer={"keys": {}}), [], ("keyuse.forbidden_operation", "critical")),
        (entry(path="transit/export/x/k", operation="read", answer={"error": shown("n")}), [], ("keyuse.forbidden_attempt", "warning")),
        (entry(path="sys/policies/acl/x", mount="sys", mount_type="system"), [], ("keyuse.rules_changed", "warning")),
        (entry(path=f"transit/sign/{KEY.name}", data={"input": shown("x")}, error="denied", role="thief"), [], ("keyuse.refused_attempt", "warning")),
        (sign(digest())[:200] + b"\n" + noise(), [], ("keyuse.line_unreadable", "critical")),
        (entry(path=f"transit/sign/{KEY.name}", data={"input": "AAAA"}, answer={"signature": "x", "key_version": 1}), [], ("keyuse.raw_audit", "critical")),
        (sign(digest()).splitlines(keepends=True)[0].replace(b'"key_version":1', b'"key_version":"x"'), [], ("keyuse.call_without_intent", "critical")),
        (entry("request", path="transit/export/x/k", operation="read"), [], ("keyuse.forbidden_operation", "critical")),
        (entry(path="sys/policies/acl/x", mount="sys", mount_type="system", error="permission denied"), [], ("keyuse.forbidden_attempt", "warning")),
        (entry(path="sys/remount", mount="sys", mount_type="system", data={"from": shown("transit")}), [], ("keyuse.forbidden_operation", "critical")),
        (entry(path="sys/mounts/transit", mount="sys", mount_type="system", operation="delete"), [], ("keyuse.forbidden_operation", "critical")),
    ],
)  # fmt: skip
async def test_each_thing_that_does_not_agree_is_told(look, live, data, causes, expected):
    live.write_bytes(noise() + data)
    report, found = await look(Side(*causes))
    assert found == [expected]
    assert not report.clean


@pytest.mark.parametrize(
    ("doubt", "expected"),
    [(Doubt.TWICE, ("keyuse.signed_twice", "critical")), (Doubt.CRASH, ("keyuse.lost_with_crash", "warning"))],
)
async def test_what_may_be_behind_a_call_is_said(look, live, doubt, expected):
    live.write_bytes(sign(digest()))
    report, found = await look(Side(explained={KEY: Judgement(doubt, "order-7")}))
    assert (found, report.findings[0].what) == ([expected], "order-7")


async def test_a_stored_result_of_a_use_without_call_is_told_and_an_unused_use_is_not(look, live):
    live.write_bytes(noise())
    side = Side(
        may(digest(1), kind="use", ref="u1"), may(digest(2), kind="use", ref="u2"),
        results={"u2": Judgement(Doubt.STORED)},
    )  # fmt: skip
    report, found = await look(side)
    assert (found, report.findings[0].what) == ([("keyuse.made_without_call", "critical")], "u2")


async def test_a_decided_operation_is_a_note_and_a_run_with_notes_is_clean(look, live):
    live.write_bytes(entry(path="transit/keys/k/config", answer={}))
    report, found = await look(Side(permits="decision-1"))
    assert (found, report.clean, report.findings[0].what) == ([("keyuse.decided", "note")], True, "config decision-1")


async def test_what_the_book_lacks_is_told(look, live):
    live.write_bytes(noise())
    lacking = Finding(code="keyuse.made_without_use", severity=Severity.CRITICAL, key=None, what="checkpoint 3")
    _, found = await look(Side(findings=[lacking]))
    assert found == [("keyuse.made_without_use", "critical")]


async def test_too_many_different_findings_are_counted_by_their_code(look, live, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.findings", 2)
    live.write_bytes(b"".join(sign(digest(n), key=KEY._replace(name=f"k{n}")) for n in range(9)))
    report, _ = await look(Side())
    assert sorted(f.count for f in report.findings) == [1, 1, 7]


async def test_halves_that_fall_on_both_sides_of_a_runs_end_find_each_other(look, live):
    """A line younger than what our side is sure of waits; its cause was read by the run before."""
    live.write_bytes(noise() + sign(digest(1), at=at(3_571)))
    causes = (may(digest(1), at=at(3_569)), must(digest(1), at=at(3_572)))
    first, found = await look(Side(*causes))
    assert (found, first.counts["calls"], first.until) == ([], 0, at(3_570))
    second, found = await look(Side(*causes))
    assert (found, second.counts["calls"], second.counts["matched"]) == ([], 1, 1)


async def test_rotations_between_runs_lose_and_double_nothing(look, live):
    live.write_bytes(sign(digest(1)))
    await look(Side(may(digest(1)), must(digest(1))))
    with live.open("ab") as file:
        file.write(sign(digest(2), at=at(3_600)))
    gone = live.with_name("audit.log.1.gz")
    gone.write_bytes(gzip.compress(live.read_bytes()))
    live.write_bytes(sign(digest(3), at=at(3_700)))
    side = Side(may(digest(2), at=at(3_600)), may(digest(3), ref="o3", at=at(3_700)))
    report, found = await look(side)
    assert (found, report.counts["calls"], report.counts["matched"]) == ([], 2, 2)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: p.write_bytes(noise(at=at(4_000))), "keyuse.stretch_missing"),
        (lambda p: p.write_bytes(p.read_bytes()[: p.read_bytes().index(b"\n") + 1]), "keyuse.file_truncated"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b'"remote_port":1', b'"remote_port":2')), "keyuse.stretch_missing"),
        (lambda p: p.write_bytes(b'"remote_port":2'.join(p.read_bytes().rsplit(b'"remote_port":1', 1))), "keyuse.file_changed"),
    ],
)  # fmt: skip
async def test_a_missing_or_changed_stretch_is_critical(look, live, change, code):
    live.write_bytes(noise(3))
    await look(Side())
    change(live)
    _, found = await look(Side())
    assert found == [(code, "critical")]
    _, found = await look(Side())
    assert found in ([], [(code, "critical")])


async def test_after_a_cut_what_is_written_next_is_still_read(look, live):
    live.write_bytes(noise(3))
    await look(Side())
    live.write_bytes(live.read_bytes()[: live.read_bytes().index(b"\n") + 1])
    _, found = await look(Side())
    assert found == [("keyuse.file_truncated", "critical")]
    with live.open("ab") as file:
        file.write(sign(digest(), at=at(8_000)))
    _, found = await look(Side())
    assert found == [("keyuse.call_without_intent", "critical")]


async def test_after_the_first_line_was_changed_what_is_written_next_is_still_read(look, live):
    live.write_bytes(noise(3))
    await look(Side())
    data = live.read_bytes()
    live.write_bytes(data[data.index(b"\n") + 1 :] + sign(digest(), at=at(4_000)))
    _, found = await look(Side())
    assert found == [("keyuse.call_without_intent", "critical"), ("keyuse.stretch_missing", "critical")]
    _, found = await look(Side())
    assert found == []


async def test_an_unfinished_line_is_read_when_it_is_whole(look, live):
    data = noise() + sign(digest(1))
    live.write_bytes(data[:-40])
    report, found = await look(Side(may(digest(1))), hours=0.02)  # no response comes later than the server's time-out
    assert (found, report.counts["calls"]) == ([], 0)
    live.write_bytes(data)
    report, found = await look(Side())
    assert (found, report.counts["matched"]) == ([], 1)


async def test_a_line_that_a_crash_cut_does_not_swallow_the_next_one(look, live):
    live.write_bytes(noise()[:150] + sign(digest(1)))
    report, found = await look(Side(may(digest(1))))
    assert (found, report.counts["matched"]) == ([("keyuse.line_unreadable", "critical")], 1)


async def test_the_files_of_three_servers_make_one_record(look, tmp_path):
    """A standby forwards: one request, two files."""
    files = [tmp_path / f"n{n}" / "audit.log" for n in range(3)]
    request = number()
    for n, file in enumerate(files):
        file.parent.mkdir()
        file.write_bytes(noise() + sign(digest(n), at=at(n)) + sign(digest(9), at=at(9), request=request))
    side = Side(*[may(digest(n), ref=f"o{n}", at=at(n)) for n in range(3)], may(digest(9), ref="o9", at=at(9)))
    report, found = await look(side, *files)
    assert (found, report.counts["calls"]) == ([], 4)


async def test_a_server_that_was_not_read_before_begins_where_the_last_run_ended(look, live, tmp_path):
    live.write_bytes(noise())
    first, _ = await look(Side())
    (tmp_path / "n2").mkdir()
    other = tmp_path / "n2" / "audit.log"
    other.write_bytes(sign(digest(1)) + sign(digest(2), at=first.until))
    report, found = await look(Side(may(digest(2), at=first.until + dt.timedelta(seconds=1))), live, other)
    assert (found, report.counts["calls"]) == ([("keyuse.series_new", "warning")], 1)
    (tmp_path / "n3").mkdir()
    third = tmp_path / "n3" / "audit.log"
    third.write_bytes(noise(at=report.until))
    report, found = await look(Side(), live, other, third)
    assert (found, report.clean) == ([("keyuse.series_new", "note")], True)


async def test_a_file_under_another_name_is_known_by_its_first_line(look, live, tmp_path):
    live.write_bytes(sign(digest(1)))
    await look(Side(may(digest(1))))
    moved = live.rename(tmp_path / "moved.log")
    report, found = await look(Side(), moved)
    assert (found, report.counts["lines"]) == ([], 0)


async def test_since_skips_what_is_older_on_a_first_run(look, live):
    live.write_bytes(sign(digest(1)) + sign(digest(2), at=at(600)))
    report, found = await look(Side(must(digest(3)), may(digest(2), at=at(600))), since=at(300))
    assert (found, report.counts["calls"], report.since) == ([], 1, at(300))


async def test_what_our_side_cannot_be_sure_of_is_left_to_the_next_run(look, live):
    live.write_bytes(sign(digest(1)) + sign(digest(2), at=at(60)))
    report, found = await look(Side(may(digest(1)), until=at(30)))
    assert found == [("keyuse.compared_late", "warning"), ("keyuse.not_all_durable", "note")]
    assert (report.counts["calls"], report.until, report.late) == (1, at(30), True)
    for _ in range(2):  # for days: it is never "everything had its cause"
        report, found = await look(Side(until=at(30)), hours=24)
        assert ((("keyuse.compared_late", "warning") in found), report.late, report.clean) == (True, True, False)


async def test_a_run_without_a_file_or_a_line_says_so(look, live):
    with pytest.raises(BadInput, match=r"keyuse\.no_files"):
        await reconcile_keys(db=None, clock=None, files=[], hashes=None, source=None, rules=RULES)
    live.write_bytes(b"")
    with pytest.raises(Refused, match=r"keyuse\.nothing_to_read"):
        await look(Side())


async def test_progress_is_told(look, live):
    live.write_bytes(noise(50))
    told = []
    await look(Side(), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (live.stat().st_size, live.stat().st_size)


async def test_findings_are_said_to_the_operator_without_names(look, live, capsys):
    from core import logs

    logs.configure("warning")
    live.write_bytes(sign(digest(), role="thief"))
    await look(Side())
    said = capsys.readouterr().err
    assert '"code": "keyuse.foreign_caller"' in said
    assert "thief" not in said
    assert "dropped" not in said


# what somebody may do to the files and to clocks


def wrapped(line):
    made = json.loads(line)
    made["response"] = {
        "mount_point": "transit/",
        "mount_type": "transit",
        "wrap_info": {"ttl": 60, "token": shown("w")},
    }
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"


async def test_a_wrapped_signature_is_told_twice_without_a_cause_and_once_with_one(look, live):
    asked, said = sign(digest()).splitlines(keepends=True)
    live.write_bytes(noise() + asked + wrapped(said))
    _, found = await look(Side())
    assert found == [("keyuse.call_without_intent", "critical"), ("keyuse.forbidden_operation", "critical")]
    report, found = await look(Side(may(), must()), again=True)
    assert (found, report.findings[0].what) == ([("keyuse.forbidden_operation", "critical")], "sign_wrapped")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1", []), ("2", [("keyuse.call_without_intent", "critical"), ("keyuse.made_without_call", "critical")])],
)
async def test_the_version_that_was_asked_for_is_found_where_the_answer_does_not_tell_it(look, live, version, expected):
    asked = (
        sign(digest())
        .splitlines(keepends=True)[0]
        .replace(b'"key_version":1', b'"key_version":"%s"' % shown(version).encode())
    )
    live.write_bytes(noise() + asked)
    _, found = await look(Side(may(), must()))
    assert found == expected


async def test_a_batch_that_was_refused_is_no_unreadable_line(look, live):
    nested = {"batch_input": [[{"input": shown("x")}]]}
    live.write_bytes(noise() + entry(path=f"transit/sign/{KEY.name}", data=nested, error="failed to parse batch input"))
    _, found = await look(Side())
    assert found == []


async def rotated(look, live, *parts):
    """A first look at a signature with its cause; then the file is rotated, ``parts`` lie beside, and a new one has begun."""
    live.write_bytes(noise() + sign(digest("a")))
    _, found = await look(Side(may(digest("a"))))
    assert found == []
    live.rename(live.with_name("audit.log.1"))
    for place, data in enumerate(parts, 2):
        live.with_name(f"audit.log.{place}").write_bytes(data)
    live.write_bytes(noise(at=at(100)))
    return await look(Side(may(digest("a"))))


CALL = ("keyuse.call_without_intent", "critical")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\0" * 10 + noise(at=at(20)) + sign(digest("forged"), at=at(21)), [CALL, ("keyuse.line_unreadable", "critical")]),
        (b"#\n" + noise(at=at(20)) + sign(digest("forged"), at=at(21)), [CALL, ("keyuse.line_unreadable", "critical")]),
        (b"#\n#\n", [("keyuse.line_unreadable", "critical")]),
        (b"#", [("keyuse.line_unreadable", "critical")]),
        (b"", [("keyuse.file_truncated", "critical")]),
        (gzip.compress(b"", mtime=0), [("keyuse.file_truncated", "critical")]),
        (noise(at=at(10**9)) + sign(digest("forged"), at=at(10**9 + 1)), [CALL, ("keyuse.clock_wrong", "warning")]),
        (noise(at=at(-1_000)) + sign(digest("forged"), at=at(-999)), [CALL, ("keyuse.clock_wrong", "warning")]),
        (noise(at=at(-10)) + sign(digest("forged"), at=at(-9)), [CALL]),
    ],
)  # fmt: skip
async def test_no_part_is_passed_over_whatever_its_first_line_or_its_times_are(look, live, data, expected):
    _, found = await rotated(look, live, data)
    assert found == expected


async def test_a_part_that_was_read_is_not_read_again_and_shows_when_it_is_cut_or_emptied(look, live):
    part = noise(at=at(50))
    report, found = await rotated(look, live, part)
    assert (found, report.counts["lines"]) == ([], 4)
    for change, expected in ((part[: part.index(b"\n") + 1], "keyuse.file_truncated"), (b"", "keyuse.file_truncated")):
        live.with_name("audit.log.2").write_bytes(change)
        with live.open("ab") as file:
            file.write(noise(at=at(200)))
        report, found = await look(Side())
        assert (found, report.counts["lines"]) == ([(expected, "critical")], 2)
    live.with_name("audit.log.2").unlink()
    live.with_name("audit.log.1").unlink()
    _, found = await look(Side())
    assert found == []


async def test_a_clock_that_was_set_forward_or_back_within_a_file_stops_and_hides_nothing(look, live):
    day = 86_400
    live.write_bytes(
        noise() + sign(digest(1), at=at(day)) + sign(digest("forged"), at=at(day + 1)) + sign(digest(2), at=at(2))
        + sign(digest("forged2"), at=at(-day)) + sign(digest(3), at=at(3))
    )  # fmt: skip
    report, found = await look(Side(*(may(digest(n), ref=f"o{n}", at=at(n)) for n in (1, 2, 3))))
    assert found == [CALL, ("keyuse.clock_wrong", "warning")]
    assert [f.count for f in report.findings] == [2, 6]
    assert (report.counts["calls"], report.counts["matched"]) == (5, 3)


async def test_a_request_of_the_future_does_not_keep_others_from_being_told(look, live):
    first, second = (sign(digest(n), at=at(when)).splitlines(keepends=True)[0] for n, when in ((1, 10**9), (2, 1)))
    live.write_bytes(noise() + first + second)
    report, found = await look(Side())
    assert (found, report.findings[0].count) == ([CALL, ("keyuse.clock_wrong", "warning")], 2)


async def test_a_line_that_is_too_long_stops_nothing(look, live, monkeypatch):
    monkeypatch.setattr("audit.keyuse.reading.MOST_LINE", 5_000)
    monkeypatch.setattr("audit.keyuse.reading._CHUNK", 700)
    long = entry("request", path="auth/approle/login", mount="auth/approle", data={"<" * 6_000: 1}, at=at(5))
    live.write_bytes(long + noise() + long + sign(digest("forged"), at=at(20)) + long[:5_500])
    report, found = await look(Side())
    assert (found, report.findings[1].count) == ([CALL, ("keyuse.line_unreadable", "critical")], 2)
    with live.open("ab") as file:
        file.write(long[5_500:] + sign(digest("forged"), at=at(4_000)))
    report, found = await look(Side())
    assert (found, report.counts["lines"]) == ([CALL, ("keyuse.line_unreadable", "critical")], 3)


@pytest.mark.parametrize("damage", [lambda z: z[:40] + b"\xff" * 30 + z[70:], lambda z: z[:-200], lambda z: z[:15]])
async def test_a_packed_part_that_is_damaged_is_told_and_does_not_end_the_run(look, live, damage):
    live.write_bytes(noise(at=at(100)) + sign(digest("forged"), at=at(101)))
    live.with_name("audit.log.1.gz").write_bytes(damage(gzip.compress(b"".join(noise(at=at(n)) for n in range(90)))))
    for _ in range(2):
        _, found = await look(Side())
        assert ("keyuse.line_unreadable", "critical") in found
    live.with_name("audit.log.1.gz").unlink()
    _, found = await look(Side())
    assert found == []


async def test_a_file_that_was_named_and_is_not_there_is_no_clean_run(look, live):
    live.write_bytes(noise())
    await look(Side())
    live.rename(live.with_name("audit.log.1"))
    with pytest.raises(BadInput, match=r"cli\.no_such_file"):
        await look(Side())


async def test_a_file_in_which_nothing_is_written_any_more_is_told(look, live):
    live.write_bytes(noise())
    await look(Side())
    _, found = await look(Side(may(kind="use", at=at(4_000))))
    assert found == [("keyuse.nothing_new", "warning")]
    _, found = await look(Side())
    assert found == []
    _, found = await look(Side(), hours=30)
    assert found == [("keyuse.nothing_new", "warning")]


COPIES = replace(RULES, live=False)


async def test_a_copy_that_lags_behind_makes_no_false_alarm_and_is_no_clean_run(look, live):
    causes = (may(at=at(600)), must(at=at(600)))
    live.write_bytes(noise())
    report, found = await look(Side(*causes), hours=0.3, rules=COPIES)
    assert (found, report.late, report.until) == ([("keyuse.compared_late", "warning")], True, at(0))
    live.write_bytes(live.read_bytes() + sign(digest(), at=at(600)) + noise(at=at(1_200)))
    report, found = await look(Side(*causes), hours=0.05, rules=COPIES)
    assert (found, report.late, report.counts["matched"]) == ([], False, 1)


async def test_a_forwarded_request_on_both_sides_of_a_runs_end_counts_once(look, live, tmp_path):
    request, other = number(), tmp_path / "b.log"
    live.write_bytes(noise(at=at(1)) + sign(digest(), at=at(99.9), request=request))
    other.write_bytes(noise(at=at(1)) + sign(digest(), at=at(100.1), request=request))
    causes = (may(at=at(99)), must(at=at(99)))
    explained = {KEY: Judgement(Doubt.TWICE, "order")}
    await look(Side(*causes, until=at(100)), live, other)
    report, found = await look(Side(*causes, explained=explained), live, other)
    assert (found, report.counts["calls"]) == ([], 0)


async def test_two_orders_with_one_digest_and_key_each_have_their_call(look, live):
    live.write_bytes(noise() + sign(digest(), at=at(10)) + sign(digest(), at=at(20)))
    causes = [may(at=at(9), ref="A"), may(at=at(9.5), ref="B"), must(at=at(11), ref="A"), must(at=at(200), ref="B")]
    report, _ = await look(Side(*causes, until=at(190)))
    assert report.counts["matched"] == 2
    _, found = await look(Side(*causes))
    assert found == []


async def test_what_a_side_says_of_itself_that_does_not_fit_is_a_finding(look, live):
    live.write_bytes(noise())
    wrong = Finding(code="keyuse.order_changed", severity=Severity.CRITICAL, key=None, what="order-9")

    class Changed(Side):
        async def causes(self, after, until):
            yield [wrong]

    _, found = await look(Changed())
    assert found == [("keyuse.order_changed", "critical")]
