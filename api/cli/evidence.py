"""``dauso evidence``: check the evidence of a signature request again, from its file alone."""

import json
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.cli.show import fail, out, print_json, read_file
from core.errors import BadInput, ServiceError
from core.formats.note import NoteKey
from core.messages import sentence
from core.values import Realm
from signer.requests.evidence import Expected, verify_evidence_file
from verification.report import Finding

__all__ = ["app"]

app = typer.Typer(help="Bằng chứng ký / evidence of signatures.", no_args_is_help=True)
_EXIT = {"holds": 0, "broken": 1, "not_compared": 3, "unreadable": 3}
_COLOUR = {"holds": "green", "broken": "red"}


@app.callback()
def evidence() -> None:
    """Keeps ``verify`` a command of its own."""


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="Tệp bằng chứng JSON / evidence file")],
    signed: Annotated[Path | None, typer.Option(help="Tệp đã ký / the signed file")] = None,
    log_key: Annotated[str | None, typer.Option(help="Khóa kiểm tra của nhật ký / the log's verifier key")] = None,
    origin: Annotated[str | None, typer.Option(help="Địa chỉ trang ký / origin of the signing pages")] = None,
    anchor: Annotated[Path | None, typer.Option(help="Chứng thư gốc PEM / root certificate to trust")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Kiểm tra lại bằng chứng ký / check it again: no network, no database.

    0: mọi thứ khớp / all holds · 1: có điều không đúng / something is wrong · 3: chưa so được / not compared, or unreadable.
    """
    try:
        expected = Expected(origin=origin, log_key=_log_key(log_key), root=_root(anchor))
        data = read_file(file)
        found = verify_evidence_file(data, None if signed is None else read_file(signed), expected=expected)
    except ServiceError as error:
        fail(error, as_json, 2)
    verdict = _verdict(found, expected)
    realm = Realm(json.loads(data)["realm"]) if verdict in {"holds", "not_compared"} else None
    if as_json:
        print_json(
            {"file": str(file), "verdict": verdict, "realm": realm, "sentence": _said(verdict, "vi"), "sentence_en": _said(verdict, "en"),
             "findings": [{"code": f.code, "severity": f.severity, "text": f.text(), "text_en": f.text("en")} for f in found]}
        )  # fmt: skip
    else:
        _say(file, verdict, realm, found)
    raise typer.Exit(_EXIT[verdict])


def _log_key(text: str | None) -> str | None:
    """Raises ``evidence.bad_log_key``."""
    try:
        return None if text is None else str(NoteKey.parse(text))
    except ValueError as error:
        raise BadInput("evidence.bad_log_key") from error


def _root(path: Path | None) -> bytes | None:
    """Raises ``evidence.bad_anchor``, ``cli.no_such_file``."""
    if path is None:
        return None
    try:
        return x509.load_pem_x509_certificate(read_file(path)).public_bytes(Encoding.DER)
    except ValueError as error:
        raise BadInput("evidence.bad_anchor", file=path.name) from error


def _verdict(found: list[Finding], expected: Expected) -> str:
    """A file that agrees with itself may be whole in the hands of a forger: it holds once it is compared."""
    wrong = {each.code for each in found if each.severity == "error"}
    if wrong:
        return "unreadable" if wrong == {"evidence.unreadable"} else "broken"
    compared = None not in {expected.origin, expected.log_key, expected.root}
    return "holds" if compared else "not_compared"


def _said(verdict: str, language: str) -> str:
    return sentence(f"evidence.verdict_{verdict}", language)


def _say(file: Path, verdict: str, realm: Realm | None, found: list[Finding]) -> None:
    colour = _COLOUR.get(verdict, "yellow")
    out.print(f"[bold]{file.name}[/bold]")
    if realm is Realm.TRAINING:
        out.print(f"  [yellow]{sentence('evidence.training', 'vi')} / {sentence('evidence.training', 'en')}[/yellow]")
    out.print(f"  [{colour}]{_said(verdict, 'vi')}[/{colour}]")
    out.print(f"  {_said(verdict, 'en')}")
    for each in found:
        out.print(f"    {each.severity}: {each.text()} / {each.text('en')} ({each.code})", markup=False)
