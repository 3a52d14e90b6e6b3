"""Logs are JSON with an allow-list of keys."""

import json

import pytest

from core import logs


def test_a_line_holds_its_level_time_event_and_allowed_keys(capsys):
    logs.configure("info")
    logs.logger().info("job.done", id="01J", ms=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["id"], line["ms"]) == ("job.done", "info", "01J", 3)
    assert line["at"].endswith("Z")


def test_a_key_outside_the_list_is_dropped_and_named(capsys):
    logs.configure("info")
    logs.logger().info("job.done", name="Nguyễn Thị Ổn", id="01J")
    text = capsys.readouterr().err
    assert "Nguy" not in text
    assert json.loads(text)["dropped"] == ["name"]


def test_lines_under_the_level_are_not_written(capsys):
    logs.configure("error")
    logs.logger().warning("job.stopped")
    assert capsys.readouterr().err == ""


def test_of_an_error_its_place_is_told_and_nothing_that_it_says():
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("Nguyễn Thị Ổn")
    assert (logs.code_of(raised.value), logs.place_of(raised.value).split(":")[0]) == ("RuntimeError", "test_logs.py")
    assert logs.place_of(RuntimeError()) == ""
