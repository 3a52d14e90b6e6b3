"""A training town: home, agency, certifier, clerk; and a scan to certify."""

import atexit
import datetime as dt
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from api import bootstrap
from api.roles import ProcessRole
from core.directory.model import Role
from core.settings import Settings
from core.values import Realm, Regime


def scan(text: str = "BAN CHINH") -> bytes:
    image = Image.new("RGB", (827, 1169), "white")
    ImageDraw.Draw(image).text((100, 100), text, "black")
    target = io.BytesIO()
    image.save(target, "JPEG", quality=60, dpi=(100, 100))
    return target.getvalue()


def environment() -> dict[str, str]:
    """For a child that runs ``dauso``: found on the path, importing this tree."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def settings(home: Path, url: str = "", **more: Any) -> Settings:
    return Settings(home=home, database_url=url, **more)


_built: dict[Realm, Path] = {}


async def build(
    home: Path, url: str = "", realm: Realm = Realm.TRAINING, *, fresh: bool = False, **more: Any
) -> Settings:
    """On SQLite a copy of the town that this process built first: the same keys and ids, another life.

    ``fresh``: a town of its own, whose keys nobody else has. ``more``: settings of another key store, fresh too.
    """
    if url or fresh or more:
        return await _build(home, url, realm, **more)
    if realm not in _built:
        folder = tempfile.mkdtemp(prefix="dauso-town-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        await _build(Path(folder) / "home", "", realm)
        _built[realm] = Path(folder) / "home"
    shutil.copytree(_built[realm], home, dirs_exist_ok=True)
    return settings(home)


async def _build(home: Path, url: str, realm: Realm, **more: Any) -> Settings:
    made = settings(home, url, **more)
    await bootstrap.create_home(made, realm)
    async with bootstrap.open_service(made, ProcessRole.SIGNER) as service:
        agency = await service.enrolment.agency(code="H1", name="UBND xã Đường Lâm", parent="UBND tỉnh Ví Dụ")
        now = service.clock.now()
        for name, role in (("Lê Thị Hữu", Role.CERTIFIER), ("Đỗ Văn Thư", Role.CLERK)):
            await service.enrolment.person(
                agency=agency.code, name=name, role=role, number="1/QĐ", capacity="TUQ. CHỦ TỊCH", dated=now,
                valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
            )  # fmt: skip
    return made


def request(**change):
    return {
        "kind": "Giấy khai sinh", "regime": Regime.CERTIFIED_COPY, "agency": "", "original_number": "45/2001",
        "pages": None, "copies": 1, "requester": "Phạm Thị Ổn", "device": "máy quét",
        "scanned_at": dt.datetime(2026, 11, 25, tzinfo=dt.UTC), **change,
    }  # fmt: skip


class Stop(Exception):
    """What a crash looks like to the work it ends."""


def stop_at(step):
    """A ``note`` that ends the work after ``step``."""

    def note(seen):
        if seen == step:
            raise Stop

    return note


def at(seconds: float) -> dt.datetime:
    """A moment, by seconds since 1970."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
