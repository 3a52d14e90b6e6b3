"""The sentence behind every stable code, Vietnamese first, English second, through gettext.

``core/locale/<language>/LC_MESSAGES/dauso.po``: the code is the message id, the other language stands above it as a
comment. ``make messages`` compiles them; tests prove that both languages have each code that the source raises and that
the compiled files are up to date. Placeholders are filled from an error's evidence; a missing one shows as an ellipsis,
never as an exception.
"""

import gettext
from collections import defaultdict
from functools import cache
from importlib.resources import as_file, files
from typing import Any

__all__ = ["LANGUAGES", "codes", "sentence"]

LANGUAGES = ("vi", "en")


@cache
def _catalog(language: str) -> dict[str, str]:
    with as_file(files("core") / "locale") as folder:
        found: Any = gettext.translation("dauso", folder, [language])
    return {code: text for code, text in found._catalog.items() if code}  # noqa: SLF001 - the only way to list one


def codes() -> frozenset[str]:
    """All stable codes."""
    return frozenset(_catalog(LANGUAGES[0]))


def sentence(code: str, language: str = "vi", /, **evidence: Any) -> str:
    """The sentence for ``code``; an unlisted code reads as itself, so an error is never lost in its own rendering."""
    text = _catalog(language).get(code)
    return code if text is None else text.format_map(defaultdict(lambda: "…", evidence))
