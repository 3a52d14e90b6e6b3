"""The pages' template environment."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["environment"]


@cache
def environment() -> Environment:
    """Autoescaped, strict: a missing value is an error, never an empty place on a page."""
    return Environment(loader=PackageLoader("api.web"), autoescape=True, undefined=StrictUndefined)
