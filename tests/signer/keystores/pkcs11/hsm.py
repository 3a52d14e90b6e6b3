"""A SoftHSM token of a test's own."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from signer.keystores.pkcs11.pool import Pkcs11Config

__all__ = ["LABEL", "MODULE", "PIN", "Hsm", "lay", "module"]

PIN = "pin-7261-khong-lo"
LABEL = "dauso-test"
SO_PIN = "so-pin-559011"
_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
MODULE = next((Path(place) for place in _PLACES if Path(place).exists()), None)


def module() -> Path | None:
    """The library, where it and its tool are installed."""
    return MODULE if shutil.which("softhsm2-util") else None


def lay(folder: Path, label: str = LABEL, pin: str = PIN) -> None:
    """A new token in ``folder / 'tokens'``, with the configuration beside it."""
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    configure(folder)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN],
        check=True, capture_output=True, env={"SOFTHSM2_CONF": str(folder / "softhsm2.conf"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def configure(folder: Path) -> Path:
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    return conf


@dataclass
class Hsm:
    """Where a token lies; ``SOFTHSM2_CONF`` points there while the test runs."""

    folder: Path
    setenv: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self.setenv("SOFTHSM2_CONF", str(configure(self.folder)))
        self.write_pin(PIN)

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    def write_pin(self, pin: str) -> None:
        """As an operator does: a new file in the old one's place."""
        new = self.folder / "pin.new"
        new.write_text(pin + "\n")
        new.chmod(0o600)
        new.replace(self.pin_file)

    def config(self, workers: int = 1, **changes: object) -> Pkcs11Config:
        assert MODULE is not None
        settings = {"module": MODULE, "token": LABEL, "pin_file": self.pin_file, "workers": workers} | changes
        return Pkcs11Config(**settings)

    def remove(self) -> None:
        """The token is pulled out."""
        (self.folder / "tokens").rename(self.folder / "elsewhere")
        (self.folder / "tokens").mkdir()

    def insert(self) -> None:
        """And put in again."""
        (self.folder / "tokens").rmdir()
        (self.folder / "elsewhere").rename(self.folder / "tokens")
