"""The command line ``dauso``. Thin: parses, calls one thing, renders. Exit codes: verdicts per design, 2 wrong use."""

import gc

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    gc.disable()  # modules leave no garbage, and walking through all of them again and again is a quarter of a start
    from api.cli.app import main as run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    run()
