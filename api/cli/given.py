"""What stands before a command's name: the home, and cards to log in with where the store asks for them."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import typer

from api import bootstrap
from api.bootstrap import Service
from api.cli.cards import own_login
from api.roles import ProcessRole
from core.settings import Settings

__all__ = ["Given", "cards_of", "own_settings", "settings_of", "signing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Read once, by the application's callback."""

    settings: Settings
    cards: Path | None = None
    """Folder of secret ids that are this command's own."""


def _given(context: typer.Context) -> Given:
    found = context.find_object(Given)
    assert found is not None
    return found


def settings_of(context: typer.Context) -> Settings:
    """As the processes have them."""
    return _given(context).settings


def cards_of(context: typer.Context) -> Path | None:
    """The folder of cards, if one was named."""
    return _given(context).cards


def own_settings(context: typer.Context) -> Settings:
    """The settings with which a command opens key stores. Raises ``keys.needs_cards``, ``keys.no_card``."""
    given = _given(context)
    return own_login(given.settings, given.cards)


def signing(context: typer.Context) -> AbstractAsyncContextManager[Service]:
    """A home with its keys, for one command beside the processes. Raises what opening a home raises, and ``own_settings``."""
    return bootstrap.open_service(own_settings(context), ProcessRole.SIGNER)
