"""``dauso audit``: was every call on a key caused by us? Run by an auditor, with an identity of the key store that may not sign.

Exit codes of ``keys``: 0 nothing but notes, 1 findings, 3 the comparison could not be completed, or ends too long before now.
"""

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from api.cli.given import settings_of
from api.cli.show import err, fail, out, print_json, progress
from api.roles import AUDITOR_WRITES, hidden_from_auditor
from audit.keyuse import Finding, Hashes, Progress, Rules, RunReport, Severity, reconcile_keys
from audit.keyuse.lines import LOGINS
from audit.keyuse.listen import Listener
from core.clock import VIETNAM, Clock, SystemClock, timestamp_text
from core.db import Database
from core.directory.records import agency_table
from core.errors import BadInput, Broken, ServiceError
from core.limits import LIMITS
from core.messages import sentence
from core.settings import Settings
from core.vault import Vault, config_of
from signer.credentials import credential_table
from signer.keystores.causes import KeyCauses
from signer.keystores.model import KeyRef
from signer.keystores.prepared import Prepared
from signer.keystores.transit import mounts_of

__all__ = ["app", "compare"]

app = typer.Typer(help="Đối soát / reconciliation.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]
_MARK = {Severity.CRITICAL: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}


@app.command("keys")
def keys(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Tệp nhật ký của kho khóa, cả tệp cũ .gz / the key store's audit files, packed ones too"),
    ] = None,
    device: Annotated[str, typer.Option(help="Thiết bị nhật ký / audit device")] = "",
    since: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Lần đầu bắt đầu từ / where a first run begins"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Đối soát lại các tệp này từ đầu / prove these files anew")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--copies",
            help="Máy chủ khóa ghi thẳng vào các tệp này, không phải bản chép đến sau / the server writes these very files: no copies that lag behind",
        ),
    ] = False,
    cidr: Annotated[
        list[str] | None,
        typer.Option(help="Mạng đã cho ở dauso keys init / networks that were given to dauso keys init"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Mỗi lần khóa được gọi ký có căn cứ không / whether each call on a key had its cause."""
    settings = settings_of(context)
    begin = None if since is None else since.replace(tzinfo=since.tzinfo or VIETNAM)
    named = files or [Path(each.strip()) for each in settings.audit_files.split(",") if each.strip()]

    async def work() -> RunReport:
        with progress(quiet=as_json) as bar:
            task = bar.add_task("đọc nhật ký kho khóa / reading", total=None)

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done >> 20, total=max(1, total >> 20))

            return await compare(
                settings, named, device=device, since=begin, again=again, live=live, cidrs=tuple(cidr or ()), show=show
            )

    try:
        report = asyncio.run(work())
    except ServiceError as error:
        fail(error, as_json, 3)
    _say(report, as_json)
    if report.late:
        raise typer.Exit(3)
    if not report.clean:
        raise typer.Exit(1)


async def compare(
    settings: Settings, files: list[Path], *, device: str = "", since: dt.datetime | None = None, again: bool = False,
    live: bool = False, cidrs: tuple[str, ...] = (), show: Progress = lambda _done, _all: None, clock: Clock | None = None,
) -> RunReport:  # fmt: skip
    """With the auditor's own session at the key server and a database that only takes what was found.

    Raises ``keyuse.no_transit``, ``vault.*`` and what the comparison raises.
    """
    if not settings.vault_url:
        raise BadInput("keyuse.no_transit")
    clock, device = clock or SystemClock(), device or settings.audit_device
    vault = Vault(config_of(settings))

    async def ask(text: str) -> str:
        answer = await vault.call("POST", f"sys/audit-hash/{device}", {"input": text})
        if not isinstance(answer.get("hash"), str):
            raise Broken("keyuse.no_hash")
        return str(answer["hash"])

    async with Database(settings.database, AUDITOR_WRITES, hidden_from_auditor()) as db:
        await vault.start()
        try:
            rules = Rules(
                device=device, mounts=await _mounts(db, settings), namespace=settings.vault_namespace,
                signers=frozenset(s.strip() for s in settings.audit_signers.split(",") if s.strip()),
                logins=_logins(settings), live=live,
            )  # fmt: skip
            return await reconcile_keys(
                db=db, clock=clock, files=files, hashes=Hashes(ask),
                source=KeyCauses(db, clock, await _prepared(db, settings, cidrs)), rules=rules,
                since=since, again=again, progress=show,
            )  # fmt: skip
        finally:
            await vault.close()


def _logins(settings: Settings) -> dict[str, str]:
    """Also at a path of its own (``vault_mount``), which begins a token's display name."""
    known = dict(LOGINS)
    if settings.vault_mount and settings.vault_login in known:
        known[settings.vault_mount.strip("/").replace("/", "-")] = known[settings.vault_login]
    return known


async def _prepared(db: Database, settings: Settings, cidrs: tuple[str, ...]) -> Prepared:
    async with db.read() as uow:
        codes = (await uow.execute(sa.select(agency_table.c.code))).scalars().all()
    return Prepared(mounts=mounts_of(settings.transit_mounts), agencies=frozenset(codes), cidrs=cidrs)


async def _mounts(db: Database, settings: Settings) -> frozenset[str]:
    """Those in which keys of ours lie, and those in which new ones are made."""
    async with db.read() as uow:
        rows = (await uow.execute(sa.select(credential_table.c.key))).scalars()
        refs = [KeyRef.from_json(json.loads(row)) for row in rows]
    return frozenset({ref.place for ref in refs if ref.store == "transit"} | set(mounts_of(settings.transit_mounts)))


def _say(report: RunReport, as_json: bool) -> None:
    if as_json:
        for each in report.findings:
            print_json(_plain(each))
        print_json(
            {"run": report.id, "since": report.since.isoformat(), "until": report.until.isoformat(), "clean": report.clean,
             "counts": report.counts}
        )  # fmt: skip
        return
    counts = report.counts
    out.print(
        f"Đã đọc {counts['lines']} dòng ({counts['bytes'] / 1e6:.1f} MB): {counts['calls']} lần ký, {counts['matched']} lần có căn cứ. "
        f"Đối soát đến {timestamp_text(report.until)}.\n"
        f"Read {counts['lines']} lines: {counts['calls']} signatures, {counts['matched']} with their cause.",
        markup=False,
    )
    for each in report.findings:
        when = f" {timestamp_text(each.first_at)}" if each.first_at else ""
        who = f" entity {each.who}" if each.who else ""
        asked = f" request {', '.join(each.requests)}" if each.requests else ""
        out.print(
            f"{_MARK[each.severity]} {sentence(each.code, 'vi', **each.evidence)}\n  {sentence(each.code, 'en', **each.evidence)}"
            f" ({each.code}{when}{who}{asked})",
            markup=False,
        )
    if report.clean and report.until <= report.since:
        seconds = LIMITS["keyuse.settle_seconds"]
        out.print(
            f"Chưa có gì mới để đối soát; dòng trẻ hơn {seconds} giây chờ lần chạy sau. / Nothing new to compare; lines younger "
            f"than {seconds} seconds wait for the next run.",
            markup=False,
        )
    elif report.clean:
        out.print("✓ Mọi lần dùng khóa đều có căn cứ. / Every use of a key had its cause.", markup=False)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code, "severity": finding.severity.value, **finding.evidence, "who": finding.who,
        "first_at": finding.first_at.isoformat() if finding.first_at else None,
        "last_at": finding.last_at.isoformat() if finding.last_at else None, "requests": list(finding.requests),
        "sentence": sentence(finding.code, "vi", **finding.evidence),
    }  # fmt: skip


@app.command("listen")
def listen(
    file: Annotated[Path, typer.Argument(help="Ghi vào tệp / the file that lines are appended to")],
    bind: Annotated[
        str, typer.Option(help="Địa chỉ:cổng trong mạng riêng / address of a private network")
    ] = "127.0.0.1:9590",
) -> None:
    """Nhận thiết bị nhật ký ``socket`` của OpenBao / take what OpenBao's ``socket`` device sends."""
    host, _, port = bind.rpartition(":")
    if not port.isdigit():
        fail(BadInput("keyuse.cannot_listen", host=host, port=port), code=3)

    def ready(number: int) -> None:
        err.print(f"{host}:{number} → {file}", markup=False)

    try:
        asyncio.run(Listener(file).serve(host, int(port), ready))
    except ServiceError as error:
        fail(error, code=3)
