"""How the command line speaks: one console, JSON where asked, errors as sentences with their code."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import BadInput, ServiceError

__all__ = ["err", "fail", "out", "print_json", "progress", "read_file", "read_wording", "run"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value a line on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def fail(error: ServiceError, as_json: bool = False, code: int = 1) -> NoReturn:
    """Say an error in both languages and leave with ``code``."""
    if as_json:
        print_json({"error": error.code, "sentence": error.say("vi"), "sentence_en": error.say("en")})
    else:
        err.print(f"[red]✗[/red] {error.say('vi')}\n  {error.say('en')}  [dim]({error.code})[/dim]")
    raise typer.Exit(code)


def run(work: Callable[[], Coroutine[Any, Any, Any]], as_json: bool = False) -> Any:
    """Run a coroutine; our own errors become sentences, never tracebacks."""
    try:
        return asyncio.run(work())
    except ServiceError as error:
        fail(error, as_json)


def progress(quiet: bool) -> Progress:
    """A progress line on standard error; nothing where JSON was asked for."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), console=err, transient=True, disable=quiet,
    )  # fmt: skip


def read_file(path: Path) -> bytes:
    """A file named on the command line. Raises ``cli.no_such_file``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput("cli.no_such_file", file=str(path)) from error


def read_wording(path: Path | None) -> dict[str, Any] | None:
    """An agency's texts and positions. Raises ``wording.unreadable``."""
    if path is None:
        return None
    try:
        value = json.loads(read_file(path))
    except ValueError as error:
        raise BadInput("wording.unreadable", file=str(path)) from error
    if not isinstance(value, dict):
        raise BadInput("wording.unreadable", file=str(path))
    return value
