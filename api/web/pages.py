"""The pages' template environment."""

import html
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from core.messages import sentence

__all__ = ["Markup", "environment", "t"]


class Markup(str):
    """Text that is markup already: the engine does not escape it again."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _escaped(value: Any) -> str:
    return str(value.__html__() if hasattr(value, "__html__") else html.escape(str(value)))


def t(code: str, /, **values: Any) -> Markup:
    """The sentence for ``code`` in Vietnamese, the English one second; ``values`` are escaped unless they are markup."""
    given = {name: _escaped(value) for name, value in values.items()}
    return Markup(f'{sentence(code, "vi", **given)} <span lang="en">{sentence(code, "en", **given)}</span>')


@cache
def environment() -> Environment:
    """Autoescaped, strict: a missing value is an error, never an empty place on a page."""
    made = Environment(loader=PackageLoader("api.web"), autoescape=True, undefined=StrictUndefined)
    made.globals["t"] = t
    return made
