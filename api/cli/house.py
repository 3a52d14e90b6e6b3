"""``dauso init``, ``doctor``, ``agency``, ``person``."""

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated

import typer

from api import bootstrap
from api.cli.given import own_settings, settings_of, signing
from api.cli.show import err, out, print_json, read_file, read_wording, run
from api.roles import AUDITOR_WRITES, WEB_HIDDEN, WEB_WRITES, ProcessRole, hidden_from_auditor
from core import db
from core.directory.model import Role
from core.errors import BadInput
from core.messages import sentence
from core.values import Realm, Regime

__all__ = ["agency_app", "doctor", "grants", "init", "person_app", "upgrade"]

agency_app = typer.Typer(help="Cơ quan / agencies.", no_args_is_help=True)
person_app = typer.Typer(help="Người ký và văn thư / officials and clerks.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]
NationalId = Annotated[
    bool,
    typer.Option(
        "--national-id", help="Hỏi số định danh mà người này phải chứng minh / ask for the number to be proven"
    ),
]


def init(
    context: typer.Context,
    realm: Annotated[Realm, typer.Option(help="production | training")] = Realm.PRODUCTION,
    as_json: AsJson = False,
) -> None:
    """Tạo thư mục nhà: cơ sở dữ liệu, khóa dịch vụ, nhật ký / make a home."""

    async def work() -> None:
        settings = own_settings(context)
        made = await bootstrap.create_home(settings, realm)
        value = {"home": str(settings.home), "realm": realm, "anchor": str(made)}
        print_json(value) if as_json else out.print(f"{settings.home} · {realm} · {made}")

    run(work, as_json)


def doctor(
    context: typer.Context,
    part: Annotated[
        str, typer.Argument(help="keys: chỉ kho khóa và khóa / stores and keys alone", metavar="[keys]")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Kiểm tra tình trạng / what is well and what is not."""

    async def work() -> bool:
        if part not in {"", "keys"}:
            raise BadInput("cli.no_such_part", part=part)
        rows = await (bootstrap.examine_keys if part else bootstrap.examine)(settings_of(context))
        for name, good, detail in rows:
            if as_json:
                print_json({"check": name, "good": good, "detail": detail})
            else:
                out.print(f"{'✓' if good else '✗'} {name}: {detail}", markup=False)
        return all(good for _, good, _ in rows)

    if not run(work, as_json):
        raise typer.Exit(1)


@agency_app.command("add")
def add_agency(
    context: typer.Context,
    code: Annotated[str, typer.Option(help="Mã định danh, ví dụ H55.242")],
    name: Annotated[str, typer.Option(help="Tên cơ quan")],
    parent: Annotated[str, typer.Option(help="Chủ quản hệ thống, ví dụ UBND tỉnh …")],
    wording: Annotated[Path | None, typer.Option(help="JSON: câu chữ và vị trí / texts and positions")] = None,
    as_json: AsJson = False,
) -> None:
    """Thêm cơ quan, khóa dấu, khóa mã QR và sổ năm nay / add an agency with its keys and this year's book."""

    async def work() -> None:
        words = read_wording(wording)
        async with signing(context) as service:
            agency = await service.enrolment.agency(code=code, name=name, parent=parent, wording=words)
        value = {"id": agency.id, "code": agency.code, "name": agency.name}
        print_json(value) if as_json else out.print(f"{agency.code}  {agency.name}", markup=False)

    run(work, as_json)


@agency_app.command("list")
def list_agencies(context: typer.Context, as_json: AsJson = False) -> None:
    """Các cơ quan / all agencies."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                for agency in await service.directory.agencies(uow):
                    value = {"id": agency.id, "code": agency.code, "name": agency.name, "valid_to": agency.valid_to}
                    print_json(value) if as_json else out.print(f"{agency.code}  {agency.name}", markup=False)

    run(work, as_json)


@agency_app.command("picture")
def agency_picture(context: typer.Context, code: str, file: Path, as_json: AsJson = False) -> None:
    """Ảnh dấu (PNG nền trong) / the seal's picture, a PNG with a clear ground; never shown in realm training."""
    _picture(context, code, None, file, as_json)


@agency_app.command("rekey")
def rekey(context: typer.Context, code: str, as_json: AsJson = False) -> None:
    """Khóa dấu QR mới; khóa cũ vẫn dùng để kiểm tra giấy đã cấp / a new QR-seal key, the old one still checks."""

    async def work() -> None:
        async with signing(context) as service:
            await service.enrolment.renew_qr_key(code)
            await service.publisher.keys()
        print_json({"agency": code}) if as_json else out.print(f"{code} · khóa mới / new key", markup=False)

    run(work, as_json)


@person_app.command("add")
def add_person(
    context: typer.Context,
    agency: Annotated[str, typer.Option(help="Mã cơ quan")],
    name: Annotated[str, typer.Option(help="Họ và tên")],
    role: Annotated[Role, typer.Option(help="certifier | clerk | administrator")],
    number: Annotated[str, typer.Option(help="Số văn bản giao việc, ví dụ 12/QĐ-UBND")],
    capacity: Annotated[str, typer.Option(help="Thẩm quyền ký, ví dụ TUQ. CHỦ TỊCH")] = "TUQ. CHỦ TỊCH",
    days: Annotated[int, typer.Option(help="Thời hạn (ngày) / term")] = 365,
    national_id: NationalId = False,
    as_json: AsJson = False,
) -> None:
    """Thêm người và giao vai trò / add a person with a role by a numbered instrument."""
    told = _ask_number() if national_id else None

    async def work() -> None:
        async with signing(context) as service:
            now = service.clock.now()
            person = await service.enrolment.person(
                agency=agency, name=name, role=role, number=number, capacity=capacity, dated=now,
                valid_to=now + dt.timedelta(days=days), scope=frozenset(Regime),
            )  # fmt: skip
            if told is not None:
                async with service.db.write() as uow:
                    await service.parts().people.know(uow, person.id, told)
        if role is Role.ADMINISTRATOR:
            err.print(f"! {sentence('cli.administrator_alone')}\n  {sentence('cli.administrator_alone', 'en')}")
        print_json({"id": person.id, "name": name, "role": role}) if as_json else out.print(
            f"{person.id}  {name}  {role}", markup=False
        )

    run(work, as_json)


@person_app.command("invite")
def invite_person(
    context: typer.Context, person: str, national_id: NationalId = False,
    email: Annotated[str | None, typer.Option(help="Địa chỉ nhận thông báo / where notices go")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Đường dẫn để người đó tự đăng ký điện thoại / a link by which the person enrols a phone; older ones end."""
    told = _ask_number() if national_id else None

    async def work() -> None:
        async with signing(context) as service:
            token = await service.parts().phones.invite(person, national_id=told, email=email)
        link = f"{settings_of(context).sign_url.rstrip('/')}/e/{token}"
        print_json({"person": person, "link": link}) if as_json else out.print(link, markup=False, soft_wrap=True)

    run(work, as_json)


def _ask_number() -> str:
    """Typed or piped, never an argument: those stand in the shell's history and in every list of processes."""
    return str(typer.prompt("Số định danh / national number", hide_input=sys.stdin.isatty(), err=True)).strip()


@person_app.command("picture")
def person_picture(context: typer.Context, person: str, file: Path, as_json: AsJson = False) -> None:
    """Ảnh chữ ký tay (PNG nền trong) / the hand signature's picture; never shown in realm training."""
    _picture(context, None, person, file, as_json)


def _picture(context: typer.Context, code: str | None, person: str | None, file: Path, as_json: bool) -> None:
    async def work() -> None:
        png = read_file(file)
        async with signing(context) as service:
            async with service.db.read() as uow:
                owner = (
                    (await service.directory.agency(uow, code)).id if code is not None
                    else (await service.directory.person(uow, person or "")).id
                )  # fmt: skip
            await service.copies.pictures.set(owner, png)
        print_json({"owner": owner, "file": str(file)}) if as_json else out.print(
            f"{owner} · {file.name}", markup=False
        )

    run(work, as_json)


@person_app.command("list")
def list_people(context: typer.Context, as_json: AsJson = False) -> None:
    """Những người đã đăng ký / all people with their roles."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                for person, rights in await service.directory.people(uow):
                    roles = [r.role for r in rights]
                    if as_json:
                        print_json({"id": person.id, "name": person.name, "roles": roles})
                    else:
                        out.print(f"{person.id}  {person.name}  {', '.join(roles)}", markup=False)

    run(work, as_json)


def upgrade(context: typer.Context) -> None:
    """Đưa các bảng lên bản này / bring the tables to this release."""

    async def work() -> None:
        await bootstrap.upgrade_home(settings_of(context))
        out.print("đã cập nhật / up to date")

    run(work)


def grants(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Tài khoản PostgreSQL / PostgreSQL user")],
    auditor: Annotated[bool, typer.Option("--auditor", help="Cho dauso audit keys / for dauso audit keys")] = False,
) -> None:
    """In lệnh SQL cấp quyền hẹp cho tài khoản của tiến trình web / SQL that gives the web's user its narrow rights."""
    settings_of(context)
    statements = (
        db.grants(user, AUDITOR_WRITES, hidden_from_auditor(), adding=True)
        if auditor
        else db.grants(user, WEB_WRITES, WEB_HIDDEN)
    )
    for statement in statements:
        out.print(f"{statement};", markup=False)
