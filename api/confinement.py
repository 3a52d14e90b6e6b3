"""The web process shuts itself out of what it must not read, before it opens a door: Landlock, where the kernel has it.

On one machine all roles may run under one account. A taken web process then still reaches neither the key store nor its
key file nor practice passkeys: the kernel refuses, also to its children, and it may not look into other processes.
"""

import contextlib
import ctypes
import os
import resource
import sys
import tempfile
from pathlib import Path

import landlock

from api.bootstrap import Service
from core.errors import Refused
from core.logs import logger
from core.settings import Settings
from core.values import Realm

__all__ = ["hide_memory", "require_confined", "shut_out_of_keys"]

_READ = landlock.FSAccess.READ_FILE | landlock.FSAccess.READ_DIR | landlock.FSAccess.EXECUTE
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/proc", "/sys", "/dev", "/run/systemd/resolve")
_FILES = (
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf",
    "/etc/gai.conf", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/ld.so.cache", "/etc/passwd", "/etc/group",
    "/etc/services", "/etc/protocols",
)  # fmt: skip
"""Named one by one: keys of other services lie in the same folders."""
_DUMPABLE = 4


def shut_out_of_keys(settings: Settings) -> bool:
    """For good, for this thread and all that it starts: call it first. False where the kernel cannot."""
    home = settings.home.resolve()
    rules = landlock.Ruleset()
    readable = [Path(each) for each in (*_SYSTEM, *_FILES, sys.prefix, sys.base_prefix, *sys.path) if each]
    readable += [home / "home.json", home / "pki", settings.web_key.resolve()]
    if settings.tsa_anchor is not None:
        readable.append(settings.tsa_anchor.resolve())
    stores = [Path(settings.objects_url.removeprefix("file://"))] if settings.objects_url.startswith("file://") else []
    room = home / "run" / "tmp"  # of its own: the machine's common one may hold somebody's home
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    tempfile.tempdir = str(room)
    writable = [*stores, home / "db", home / "objects", home / "run", home / "executors", Path("/dev/null")]
    try:
        for path in {p for p in readable if p.exists()}:
            rules.allow(str(path), rules=_READ if path.is_dir() else landlock.FSAccess.READ_FILE)
        for each in writable:
            if each.is_dir():
                rules.allow(str(each))
            elif each.exists():
                rules.allow(str(each), rules=landlock.FSAccess.READ_FILE | landlock.FSAccess.WRITE_FILE)
        rules.apply()
    except OSError as error:
        logger().warning("web.not_confined", error=type(error).__name__)
        return False
    return not _reaches_keys(settings)


def _reaches_keys(settings: Settings) -> bool:
    """Asked of the kernel, not of our rules: they are a union, and a home may lie under something that is open."""
    s = settings
    logins = (
        s.vault_secret_id_file, s.vault_enroller_secret_id_file, s.vault_custodian_secret_id_file, s.vault_jwt_file,
        s.vault_key_file, s.vault_token_file, s.pkcs11_pin_file,
    )  # fmt: skip
    for path in (s.key_file, s.home / "key-file", s.home / "keys", s.people_key, *logins):
        if path is not None and path.exists():
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError:
                continue
            logger().error("web.reaches_keys", kind=path.name)
            return True
    return False


def require_confined(service: Service, confined: bool) -> None:
    """In production a web process that could read keys does not start. Raises ``home.not_confined``."""
    if not confined and service.realm is Realm.PRODUCTION:
        raise Refused("home.not_confined")


def hide_memory() -> None:
    """No other process of this account reads this one's memory (PR_SET_DUMPABLE), and none that falls leaves it on a disk."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)
