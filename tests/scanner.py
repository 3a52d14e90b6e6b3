"""No secret in any output of the suite: what every test printed, logged or let out in a traceback is looked through.

``secret(value)`` names one (a password, a PIN, a secret id) for this process; tokens and private keys are known by shape.
"""

import re
from typing import Final

import pytest

__all__ = ["found_in", "pytest_runtest_makereport", "secret"]

_SHAPES: Final = (
    re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?<![\w.])[sb]\.[A-Za-z0-9]{24,}"),
    re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
)
"""Service, batch and recovery tokens of OpenBao and Vault, old and new; PEM private keys."""
_KNOWN: set[str] = set()
_SHORT: Final = 6
"""A shorter one would be found in anything."""


def secret(value: str) -> str:
    """Never to be seen again; returns it."""
    if len(value) >= _SHORT:
        _KNOWN.add(value)
    return value


def found_in(text: str) -> list[str]:
    """What was found, each by its first letters only."""
    seen = [match.group(0) for shape in _SHAPES for match in shape.finditer(text)]
    seen += [value for value in _KNOWN if value in text]
    return [f"{value[:4]}…" for value in seen]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    said = "\n".join(content for _, content in report.sections) + (report.longreprtext or "")
    if not report.skipped and (seen := found_in(said)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a secret in its output: {', '.join(sorted(set(seen)))}"
