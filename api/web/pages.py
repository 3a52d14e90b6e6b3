"""The pages' template environment."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from core.messages import sentence

__all__ = ["environment", "t"]


def t(code: str, /, **values: Any) -> Markup:
    """The sentence for ``code`` in Vietnamese, the English one second; ``values`` are escaped unless they are markup."""
    given = {name: escape(value) for name, value in values.items()}
    vi, en = (Markup(sentence(code, language, **given)) for language in ("vi", "en"))  # noqa: S704 - our own catalogue
    return Markup('{} <span lang="en">{}</span>').format(vi, en)


@cache
def environment() -> Environment:
    """Autoescaped, strict: a missing value is an error, never an empty place on a page."""
    made = Environment(loader=PackageLoader("api.web"), autoescape=True, undefined=StrictUndefined)
    made.globals["t"] = t
    return made
