"""``dauso``: init, demo, doctor, serve, signer, worker, agency, person, audit, book, client, copy, evidence, keys, lists, verify, log, simulate, grants."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import audit, book, client, copy, demo, evidence, house, keys, lists, log, serve, simulate, verify
from api.cli.given import Given
from api.cli.show import err
from core import logs
from core.settings import Settings

__all__ = ["app", "main"]

app = typer.Typer(
    help="Dấu số: bản sao điện tử có chứng thực và chữ ký từ xa / certified electronic copies and remote signatures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(house.agency_app, name="agency")
app.add_typer(house.person_app, name="person")
app.add_typer(audit.app, name="audit")
app.add_typer(book.app, name="book")
app.add_typer(client.app, name="client")
app.add_typer(copy.app, name="copy")
app.add_typer(evidence.app, name="evidence")
app.add_typer(keys.app, name="keys")
app.add_typer(lists.app, name="lists")
app.add_typer(log.app, name="log")
app.add_typer(simulate.app, name="simulate")
app.command("init")(house.init)
app.command("doctor")(house.doctor)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("signer")(serve.signer)
app.command("worker")(serve.worker)
app.command("grants")(house.grants)
app.command("upgrade")(house.upgrade)
app.command("verify")(verify.verify)


@app.callback()
def settings(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Home folder (DAUSO_HOME).")] = None,
    cards: Annotated[
        Path | None,
        typer.Option(
            help="AppRole: thư mục thẻ riêng của lệnh này, do keys init trao / folder of this command's own secret ids"
        ),
    ] = None,
) -> None:
    """Read the settings once."""
    named: dict[str, Any] = {} if home is None else {"home": home}
    given = Given(settings=Settings(**named), cards=cards)
    context.obj = given
    logs.configure(given.settings.log_level)


def main() -> None:
    """Entry point; an interrupt is no traceback."""
    try:
        app()
    except KeyboardInterrupt:
        err.print("dừng / stopped")
        sys.exit(130)
