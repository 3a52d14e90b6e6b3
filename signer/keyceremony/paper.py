"""The protocol on paper: A4, Vietnamese first, signed with the key of verification sheets.

It says what happened and proves nothing about any copy: whoever checks the file is told that it is a sheet of ours (role
``report``), never that something is genuine.
"""

import asyncio
import datetime as dt
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.clock import VIETNAM
from core.errors import Conflict, Unavailable
from core.messages import sentence
from core.values import Realm
from signer.formats.typeface import typeface
from signer.keyceremony.protocol import KINDS, RELEASE, Both, Outcome, Protocol, Step
from signer.reports.desk import SheetDesk
from signer.reports.sheet import GREEN, GREY, RED, Colour, Paper, printable

__all__ = ["TITLE", "ProtocolDesk", "compose", "keep"]

TITLE: Final = "Biên bản nghi thức khóa"
_TITLE: Final = (TITLE, "Protocol of a key ceremony")
_TITLES: Final[dict[str, Both]] = {RELEASE: ("Biên bản về nhật ký chữ ký", "Protocol about the signature log")}
_DIGEST: Final = 9.0
_LABEL: Final = 145.0
"""Points that a label has beside its value."""
_OUTCOMES: Final[dict[Outcome, tuple[Both, Colour]]] = {
    Outcome.DONE: (("đã làm", "done"), GREEN),
    Outcome.WARNING: (("cần chú ý", "to be noticed"), RED),
    Outcome.WAITING: (("đang chờ", "waiting"), GREY),
    Outcome.FAILED: (("KHÔNG THÀNH", "FAILED"), RED),
}


def compose(protocol: Protocol, *, system: str, host: str, realm: Realm, signed: bool = True) -> bytes:
    """The PDF with its empty field. ``signed``: False where there is no key yet, and the paper says so."""
    title, english = _TITLES.get(protocol.kind, _TITLE)
    paper = Paper(training=realm is Realm.TRAINING, title=title)
    vi, en = KINDS[protocol.kind]
    paper.line(system, 11, bold=True)
    paper.line(host, 9, colour=GREY)
    paper.space(14)
    paper.line(title.upper(), 17, bold=True, centre=True)
    paper.line(english, 10.5, centre=True, colour=GREY)
    paper.space(6)
    paper.line(vi, 13, bold=True, centre=True)
    paper.line(en, 9.5, centre=True, colour=GREY)
    paper.space(8)
    if not signed:
        paper.line("CHƯA KÝ: hệ thống chưa có khóa của phiếu / UNSIGNED: there is no key of sheets yet", 10, bold=True,
                   centre=True, colour=RED)  # fmt: skip
    _about(paper, protocol)
    for number, step in enumerate(protocol.steps, 1):
        _step(paper, number, step)
    _closing(paper, system, host, signed)
    return paper.write(f"{protocol.kind} {protocol.id}", host)


def _about(paper: Paper, protocol: Protocol) -> None:
    end = protocol.steps[-1].at if protocol.steps else protocol.started
    paper.heading("Nghi thức", "The ceremony")
    paper.row(("Mã biên bản", "Number"), protocol.id)
    paper.row(("Bắt đầu", "Begun"), _time(protocol.started))
    paper.row(("Kết thúc", "Ended"), _time(end))
    paper.row(("Kho khóa", "Key store"), " · ".join(filter(None, (protocol.store, protocol.product))))
    paper.row(("Người có mặt (tự khai)", "Present (as typed)"), "; ".join(protocol.present) or "không ghi / not given")
    if protocol.reason:
        paper.row(("Lý do (tự khai)", "Reason (as typed)"), protocol.reason)
    good = protocol.good
    paper.row(("Kết quả", "Result"), "hoàn thành / completed" if good else "KHÔNG HOÀN THÀNH / NOT COMPLETED")


def _step(paper: Paper, number: int, step: Step) -> None:
    paper.heading(f"Bước {number}: {step.what[0]}", f"Step {number}: {step.what[1]}")
    (vi, en), colour = _OUTCOMES[step.outcome]
    paper.line(f"{vi} / {en} · {_time(step.at)}", 10, bold=True, colour=colour)
    if step.code:
        paper.line(f"{sentence(step.code)} / {sentence(step.code, 'en')} ({step.code})", 9)
    for (label, english), value in step.facts:
        face = typeface()
        named = printable(label, face), printable(english, face)
        if max(face.width(named[0], 9.5), face.width(named[1], 8)) > _LABEL:  # it would run into its value
            paper.line(f"{named[0]} / {named[1]}: {value}", 9, indent=8)
        else:
            paper.row(named, value, size=_DIGEST if len(value) >= 64 else 10)


def _closing(paper: Paper, system: str, host: str, signed: bool) -> None:
    paper.space(10)
    paper.rule()
    how = ("ký bằng khóa riêng của phiếu", "signed with the sheets' own key") if signed else ("chưa ký", "unsigned")
    paper.line(
        f"Biên bản do {system} ({host}) lập và {how[0]}. Biên bản KHÔNG phải là bản sao chứng thực, không mang chữ ký hay con dấu "
        "của cơ quan nào; biên bản không chứa khóa, mã PIN hay mật khẩu.",
        9, keep=60,
    )  # fmt: skip
    paper.line(
        f"Made by {system} ({host}), {how[1]}. This protocol is NOT a certified copy and bears no agency's signature or seal; it "
        "holds no key, PIN or password.",
        8.5, colour=GREY,
    )  # fmt: skip


def _time(at: dt.datetime) -> str:
    """``25/11/2026 10:05`` in Vietnam."""
    return f"{at.astimezone(VIETNAM):%d/%m/%Y %H:%M} (giờ Việt Nam)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolDesk:
    """Signs protocols."""

    sheets: SheetDesk

    async def issue(self, protocol: Protocol) -> bytes:
        """The signed PDF. Raises as ``SheetDesk.issue``."""
        desk = self.sheets
        blank = await asyncio.to_thread(compose, protocol, system=desk.system, host=desk.host, realm=desk.realm)
        title, _ = _TITLES.get(protocol.kind, _TITLE)
        return await desk.seal(blank, f"{title}; không phải bản sao chứng thực")


def keep(path: Path, data: bytes) -> str:
    """Write it, mode 0600, never over another file; returns its SHA-256. Raises ``keys.file_exists``, ``keys.file_not_written``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable("keys.file_not_written", file=path.name) from error
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Conflict("keys.file_exists", file=path.name) from error
    except OSError as error:
        raise Unavailable("keys.file_not_written", file=path.name) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Unavailable("keys.file_not_written", file=path.name) from error
    return hashlib.sha256(data).hexdigest()
