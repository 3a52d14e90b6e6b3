"""The scanner sees what it must see, in a run of its own."""

from pathlib import Path

import pytest

from tests import scanner

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("print('hvs.' + 'A' * 30)", True), ("print('s.' + 'b' * 24)", True), ("print('open', '1234-5678')", True),
        ("print('-----BEGIN EC ' + 'PRIVATE KEY-----')", True), ("raise ValueError('1234-5678')", True),
        ("import logging; logging.getLogger().warning('1234-5678')", True), ("print('vault:v1:MEUCIQ', 'signer.sock')", False),
    ],
)  # fmt: skip
def test_a_secret_in_print_log_or_traceback_fails_its_test(pytester, monkeypatch, line, found):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest("from tests.scanner import pytest_runtest_makereport, secret\nsecret('1234' + '-5678')\n")
    pytester.makepyfile(f"def test_it():\n    {line}\n")
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    said = result.stdout.str()
    assert ("a secret in its output" in said) is found
    assert ("1 failed" in said) is (found or "raise" in line)


def test_what_is_found_is_not_said_again():
    scanner.secret("a-very-secret-word")
    assert scanner.found_in("x a-very-secret-word y") == ["a-ve…"]
    scanner._KNOWN.discard("a-very-secret-word")
