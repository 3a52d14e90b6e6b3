"""``dauso keys``: policies, lists, and ceremonies that end with a signed protocol."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from api.cli import ceremonies
from api.cli.given import cards_of, settings_of
from api.cli.show import fail, out, print_json, run
from api.confinement import hide_memory
from core.clock import VIETNAM
from core.errors import BadInput, ServiceError
from signer.keystores.model import KeyPurpose

__all__ = ["app"]

app = typer.Typer(help="Kho khóa và khóa / key stores and keys.", no_args_is_help=True, callback=hide_memory)
"""Every command hides its memory first: an operator's token or a private key may be in it."""
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Không hỏi; chỉ trong bản tập huấn / ask nothing; realm training alone")
]
Out = Annotated[Path | None, typer.Option("--out", help="Nơi lưu biên bản PDF / where the protocol goes")]
Store = Annotated[str, typer.Option(help="transit | pkcs11 | software; trống: theo cấu hình / empty: as configured")]
Mounts = Annotated[str, typer.Option(help="Các kho con, cách nhau dấu phẩy / mounts, separated by commas")]
Agency = Annotated[str, typer.Option(help="Mã cơ quan có kho con riêng / agency with mounts of its own")]
Purpose = Annotated[KeyPurpose, typer.Option(help="seal | qr | tsa | ocsp | list | report")]
RoleId = Annotated[
    str, typer.Option(help="Mã vai trò AppRole của danh tính ngắn hạn / role id of the short-lived identity")
]
SecretId = Annotated[Path | None, typer.Option(help="Tệp mã bí mật đã bọc của danh tính đó / its wrapped secret id")]
Cidr = Annotated[list[str] | None, typer.Option(help="Mạng được đăng nhập / network that may log in")]


@app.command("policy")
def policy(
    context: typer.Context,
    store: Store = "transit",
    identity: Annotated[
        str, typer.Option(help="web | signer | enroller | auditor | custodian | importer; trống: tất cả / all")
    ] = "",
    mounts: Mounts = "",
    agency: Agency = "",
    as_json: AsJson = False,
) -> None:
    """In chính sách của từng danh tính trong kho / what each identity may do in the store, as HCL."""
    try:
        made, whole = ceremonies.policies(settings_of(context), store, identity, mounts, agency)
    except ServiceError as error:
        fail(error, as_json)
    for each in made:
        if as_json:
            print_json({"policy": each.name, "sha256": each.sha256, "hcl": each.hcl(), "bundle_sha256": whole})
        else:
            out.print(each.hcl(), markup=False, soft_wrap=True)
    if not as_json and not identity:
        out.print(f"# SHA-256 của cả bộ / of the whole set: {whole}", markup=False)


@app.command("init")
def init(
    context: typer.Context,
    store: Store = "",
    mounts: Mounts = "",
    agency: Agency = "",
    hand_over: Annotated[str, typer.Option(help="Danh tính được trao thẻ / identities that are handed a secret id")] = "signer,enroller",
    folder: Annotated[Path | None, typer.Option(help="Thư mục chứa thẻ / folder for them")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Tệp thẻ của người vận hành; trống: hỏi / operator's token; empty: asked for")] = None,
    cidr: Cidr = None,
    out_file: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Chuẩn bị kho khóa / prepare a store: mounts, policies, identities, audit."""
    work = ceremonies.Init(
        settings=settings_of(context), store=store, mounts=mounts, agency=agency, hand_over=hand_over, folder=folder,
        token_file=token_file, cidrs=tuple(cidr or ()), cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("list")
def list_keys(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Cả khóa không còn dùng / those no longer used too")] = False,
    as_json: AsJson = False,
) -> None:
    """Các khóa: của ai, ở đâu, đến khi nào / keys: whose, where, until when."""
    for row in run(lambda: ceremonies.listed(settings_of(context), all_), as_json):
        if as_json:
            print_json(row)
        else:
            until = f"đến/until {row['until']:%d/%m/%Y}" if row["until"] else "không chứng thư/no certificate"
            start = f" · từ/from {_when(row['active_from'])}" if row["waits"] else ""
            start += f" · {row['came']}" if row["came"] else ""
            out.print(
                f"{row['state']:<9} {row['purpose']:<9} {row['owner']:<28} {row['store']}:{row['place']} {row['key']} v{row['version']} · {until}{start}",
                markup=False,
            )


@app.command("rotate")
def rotate(
    context: typer.Context,
    owner: Annotated[str, typer.Argument(help="Mã cơ quan, hoặc tên khóa dịch vụ / agency's code, or a service key's name")],
    purpose: Purpose = KeyPurpose.SEAL,
    at: Annotated[str, typer.Option(help="Lúc chuyển, giờ Việt Nam: 25/11/2026 07:30; trống: ngay / when; empty: now")] = "",
    out_file: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Khóa và chứng thư mới bên cạnh cái cũ, chuyển vào một thời điểm / a new key beside the old, and a time to switch."""
    try:
        when = _moment(at) if at else None
    except ServiceError as error:
        fail(error, as_json)
    work = ceremonies.Rotate(
        settings=settings_of(context), owner=owner, purpose=purpose, at=when, cards=cards_of(context), out=out_file, yes=yes
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("import")
def import_key(
    context: typer.Context,
    key_file: Annotated[Path | None, typer.Option(help="Khóa riêng PKCS#8, đưa vào OpenBao/Vault / for OpenBao or Vault")] = None,
    cka_id: Annotated[str, typer.Option(help="CKA_ID (hex) của khóa đã có trong token / of a pair in the token")] = "",
    spki_sha256: Annotated[str, typer.Option(help="Với --cka-id: SHA-256 của khóa công khai đã quyết định / decided public key")] = "",
    chain: Annotated[Path | None, typer.Option(help="Chứng thư của các cơ quan cấp trên, PEM / issuers, nearest first")] = None,
    role_id: RoleId = "",
    secret_id_file: SecretId = None,
    out_file: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Nhập một khóa mà hai quản trị viên đã quyết định / take in a key that two administrators decided."""
    work = ceremonies.Import(
        settings=settings_of(context), key_file=key_file, cka_id=cka_id, spki_sha256=spki_sha256, chain=chain,
        role_id=role_id, secret_id_file=secret_id_file, cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("move")
def move(
    context: typer.Context,
    owners: Annotated[list[str], typer.Argument(help="log | root | issuing | tsa | ocsp | lists | report; mã cơ quan: khóa QR / an agency's code: its QR key")],
    role_id: RoleId = "",
    secret_id_file: SecretId = None,
    out_file: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Dời chính khóa đó từ tệp vào OpenBao; chứng thư và đường dẫn không đổi / the same key out of files into OpenBao."""
    work = ceremonies.Move(
        settings=settings_of(context), owners=owners, role_id=role_id, secret_id_file=secret_id_file, cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("disable")
def disable(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Mã hoặc tên khóa / id or name of a key")],
    role_id: RoleId = "", secret_id_file: SecretId = None, out_file: Out = None, yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Ngừng dùng một khóa: xem quyết định của hai quản trị viên và thực hiện / out of use, as two administrators decided."""
    work = ceremonies.Disable(
        settings=settings_of(context), key=key, role_id=role_id, secret_id_file=secret_id_file, cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("destroy")
def destroy(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Mã hoặc tên khóa / id or name of a key")],
    role_id: RoleId = "", secret_id_file: SecretId = None, out_file: Out = None, yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Hủy một khóa: xem quyết định của hai quản trị viên và thực hiện / destroy it, as two administrators decided."""
    work = ceremonies.Destroy(
        settings=settings_of(context), key=key, role_id=role_id, secret_id_file=secret_id_file, cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


@app.command("ceremony")
def ceremony(
    context: typer.Context,
    agency: Agency = "",
    token_file: Annotated[Path | None, typer.Option(help="Tệp thẻ của người vận hành / operator's token")] = None,
    cidr: Cidr = None,
    out_file: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Kiểm kê có người chứng kiến: từng bước được đọc từ máy chủ và xác nhận / the whole, step by step, with witnesses."""
    work = ceremonies.Ceremony(
        settings=settings_of(context), agency=agency, token_file=token_file, cidrs=tuple(cidr or ()), cards=cards_of(context), out=out_file, yes=yes,
    )  # fmt: skip
    ceremonies.end(run(work.run, as_json), as_json)


def _moment(text: str) -> dt.datetime:
    """``25/11/2026 07:30`` in Vietnam, or ISO 8601 with a zone. Raises ``keys.bad_time``."""
    for form in ("%d/%m/%Y %H:%M", "%d/%m/%Y"):
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=VIETNAM)
        except ValueError:
            continue
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput("keys.bad_time", text=text) from error
    if at.tzinfo is None:
        raise BadInput("keys.bad_time", text=text)
    return at


def _when(at: dt.datetime) -> str:
    return f"{at.astimezone(VIETNAM):%d/%m/%Y %H:%M}"
