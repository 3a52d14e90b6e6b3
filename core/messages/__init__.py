"""The sentence behind every stable code, Vietnamese and English.

One small JSON file a concern beside this one: ``{"code": {"vi": "…", "en": "…"}}``; no code may stand in two. A test
proves that each code raised in the source is here. Placeholders are filled from an error's evidence; a missing one
shows as an ellipsis, never as an exception.
"""

import json
from collections import defaultdict
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["codes", "sentence"]


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for file in files("core.messages").iterdir():
        if file.name.endswith(".json"):
            table.update(json.loads(file.read_text("utf-8")))
    return table


def codes() -> frozenset[str]:
    """All stable codes."""
    return frozenset(_table())


def sentence(code: str, language: str = "vi", /, **evidence: Any) -> str:
    """The sentence for ``code``; an unlisted code reads as itself, so an error is never lost in its own rendering."""
    entry = _table().get(code)
    if entry is None:
        return code
    return entry[language].format_map(defaultdict(lambda: "…", evidence))
