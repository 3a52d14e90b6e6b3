"""``dauso lists``: the public lists of QR seals, for checks without a network."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.given import signing
from api.cli.show import out, print_json, run
from signer.copies.publication import Published

app = typer.Typer(
    help="Danh mục khóa và trạng thái của mã QR / key and status lists of QR seals.", no_args_is_help=True
)


@app.callback()
def group() -> None:
    """A group, though it has one command so far."""


@app.command("publish")
def publish(
    context: typer.Context,
    target: Annotated[Path, typer.Option("--out", help="Thư mục nhận tệp / folder to write into")] = Path(),
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Ký và ghi danh mục mới / sign and write the lists anew."""

    async def work() -> None:
        async with signing(context) as service:
            target.mkdir(parents=True, exist_ok=True)
            for each in await service.publisher.all():
                file = _write(target, each)
                row = {"file": str(file), "sequence": each.sequence, "next_update": each.next_update}
                print_json(row) if as_json else out.print(
                    f"{file}  số/sequence {each.sequence}  đến/until {each.next_update:%d/%m/%Y %H:%M} UTC",
                    markup=False,
                )

    run(work, as_json)


def _write(folder: Path, each: Published) -> Path:
    file = folder / f"{each.name}.{'json' if each.signature else 'cose'}"
    file.write_bytes(each.body)
    if each.signature:
        file.with_suffix(".p7s").write_bytes(each.signature)
    return file
