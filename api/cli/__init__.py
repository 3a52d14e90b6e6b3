"""The command line ``dauso``. Thin: parses, calls one thing, renders. Exit codes: verdicts per design, 2 wrong use."""

from api.cli.app import main

__all__ = ["main"]
