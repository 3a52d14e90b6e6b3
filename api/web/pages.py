"""What all pages share: sentences, escaping, the files beside a package's templates; and the citizen's environment."""

import hashlib
import html
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from core.messages import sentence

__all__ = ["TYPES", "Markup", "build_of", "environment", "static_of", "t"]

TYPES: Final = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".png": "image/png",
}  # fmt: skip


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


@cache
def static_of(package: str) -> dict[str, bytes]:
    """Style, scripts and pictures beside the templates of ``package``, by name."""
    folder = files(package) / "static"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name[each.name.rfind(".") :] in TYPES}


@cache
def build_of(package: str) -> str:
    """Stands in the address of every static file of ``package``: other bytes, other address."""
    whole = hashlib.sha256()
    for name, data in sorted(static_of(package).items()):
        whole.update(name.encode() + b"\0" + data)
    return whole.hexdigest()[:12]
