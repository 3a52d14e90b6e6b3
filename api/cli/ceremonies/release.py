"""The ceremony that lets a frozen log go on: both sides are shown, two people say why, and type what is given up."""

import asyncio
import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import typer

from api import bootstrap
from api.bootstrap import Service
from api.cli.cards import own_login
from api.cli.ceremonies.base import Act, Done
from api.doctor_keys import realm_of
from audit.highwater import Mark
from audit.log import Freeze
from audit.release import Frozen, LogRelease, Released, require_two
from core.clock import VIETNAM, SystemClock, timestamp_text
from core.errors import BadInput, Conflict, Refused, ServiceError, Unavailable
from core.values import Realm
from signer.keyceremony.protocol import RELEASE, Both, Fact, Outcome, Protocol

__all__ = ["Release", "mark_text"]

_WHY: Final[dict[Freeze, Both]] = {
    Freeze.BEHIND: ("Cơ sở dữ liệu CŨ HƠN những gì đã công bố", "The database is OLDER than what was published"),
    Freeze.OTHER: (
        "Cơ sở dữ liệu là một LỊCH SỬ KHÁC: không nối tiếp những gì đã công bố",
        "The database is A DIFFERENT HISTORY: it does not follow what was published",
    ),
    Freeze.LOST: (
        "MẤT MỐC: không ai ở đây biết đã công bố đến đâu",
        "THE MARK IS LOST: nobody here can tell how far was published",
    ),
}
_GONE: Final = ("Bản ghi đã công bố không còn ở đây", "Published leaves that are gone")
_UNKNOWN: Final[dict[Freeze, str]] = {
    Freeze.OTHER: "không đếm được / cannot be counted",
    Freeze.LOST: "không biết được / cannot be known",
}
_ASKED: Final[dict[bool, str]] = {
    True: "Gõ số bản ghi của mốc bị bỏ / type the size of the mark that is given up",
    False: "Gõ số bản ghi của cơ sở dữ liệu / type the size of the database",
}


def mark_text(mark: Mark | None) -> str:
    """Size and root, as they stand in a checkpoint."""
    return "không có / none" if mark is None else f"{mark[0]} · {base64.b64encode(mark[1]).decode()}"


@dataclass(slots=True, kw_only=True)
class Release(Act):
    """Two people, once; ``audit/release.py`` says what a crash leaves."""

    kind: ClassVar[str] = RELEASE
    must_sign: ClassVar[bool] = False
    reason: str

    async def run(self) -> Done:
        """Raises ``log.not_frozen``, ``keys.needs_cards``, ``keys.no_card``, and what those present do wrong; what fails later stands in the protocol."""
        protocol = Protocol(clock=SystemClock(), kind=self.kind, store=self.settings.keys)
        async with bootstrap.open_frozen(self.settings) as log:
            seen, realm = await log.look(), realm_of(self.settings)
            own_login(self.settings, self.cards)  # only looked at: what is done here can be signed once, afterwards
            self._require_paper(protocol)
            await self._agree(protocol, realm, seen)
            try:
                released = await self._release(log, protocol, realm, seen)
            except ServiceError as error:
                return await self.finish(protocol, None, realm, error)
        async with self.signing(self.settings, self.cards) as service:
            await self._published(service, protocol, released)
            return await self.finish(protocol, service, realm)

    async def _agree(self, protocol: Protocol, realm: Realm, seen: Frozen) -> None:
        """Raises ``log.needs_two``, ``log.no_reason``, ``log.not_typed``."""
        if not self.yes:
            self.show(_WHY[seen.why], _sides(seen))
        await self.attend(protocol, realm)
        if not self.yes:
            require_two(protocol.present)
        protocol.reason = self.reason.strip() or await self._asked("Lý do / reason")
        if not protocol.reason:
            raise BadInput("log.no_reason")
        wanted = seen.state if seen.mark is None else seen.mark
        if not self.yes and await self._asked(_ASKED[seen.mark is not None]) != str(wanted[0]):
            raise Refused("log.not_typed")

    async def _asked(self, text: str) -> str:
        if self.yes:
            return ""
        return str(await asyncio.to_thread(typer.prompt, text, err=True, default="", show_default=False)).strip()

    async def _release(self, log: LogRelease, protocol: Protocol, realm: Realm, seen: Frozen) -> Released:
        protocol.add(_WHY[seen.why], Outcome.WARNING, *_sides(seen))
        with protocol.step(("Mốc cũ được giữ, mốc mới được đặt", "The old mark kept, the new one set")) as facts:
            done = await log.release(seen, realm=realm, present=protocol.present, reason=protocol.reason)
            facts += [
                (("Nhật ký chạy tiếp từ", "The log goes on from"), mark_text(seen.state)),
                (("Mốc cũ, cùng lý do", "Old mark, with the reason"), done.kept),
                (("SHA-256 của bản ghi lý do", "Digest of that record"), done.record.hex),
                (("Bản ghi trong nhật ký", "Leaf in the log"), done.event_id),
            ]
        self.next.append("công bố số bản ghi và gốc của cả hai bên / publish size and root of both sides")
        return done

    async def _published(self, service: Service | None, protocol: Protocol, released: Released) -> None:
        """Opening a signer published it; where none could be opened the next one does."""
        what = ("Công bố trong nhật ký", "Published in the log")
        try:
            if service is None:
                raise Unavailable("log.pending")
            await service.log.receipt(released.event_id)
        except ServiceError:
            protocol.add(what, Outcome.WAITING, code="log.release_waits")
            self.next.append("khởi động bộ ký / start the signer")
        else:
            size = await service.log.size()
            now = (size, await service.log.root_at(size))
            protocol.add(what, Outcome.DONE, (("Nhật ký bây giờ", "The log now"), mark_text(now)))

    def _require_paper(self, protocol: Protocol) -> None:
        """Before anything is changed: afterwards there is nothing to run again. Raises ``keys.file_exists``, ``keys.file_not_written``."""
        path = self.out or self._path(protocol)
        if path.exists():
            raise Conflict("keys.file_exists", file=path.name)
        there = next(each for each in path.absolute().parents if each.exists())
        if not os.access(there, os.W_OK):
            raise Unavailable("keys.file_not_written", file=path.name)

    def _path(self, protocol: Protocol) -> Path:
        day = f"{protocol.started.astimezone(VIETNAM):%Y%m%d-%H%M%S}"
        return self.settings.home / "protocols" / f"log-{protocol.kind}-{day}-{protocol.id[-4:]}.pdf"


def _sides(seen: Frozen) -> list[Fact]:
    at = "" if seen.checkpoint_at is None else f" · {timestamp_text(seen.checkpoint_at)}"
    facts: list[Fact] = [
        (("Mốc đã công bố", "Published mark"), mark_text(seen.mark)),
        (("Cơ sở dữ liệu", "Database"), mark_text(seen.state)),
        (("Điểm kiểm mới nhất của nó", "Its newest checkpoint"), mark_text(seen.checkpoint) + at),
        (_GONE, str(seen.gone) if seen.gone is not None else _UNKNOWN[seen.why]),
    ]
    if seen.begun:
        facts.append((("Lần cho phép trước chưa xong", "Begun before, not completed"), str(seen.begun)))
    return facts
