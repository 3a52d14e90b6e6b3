"""The walls around a child: resource limits, Landlock, seccomp. Each is put up if the kernel has it."""

import ctypes
import errno
import os
import resource
import signal
import tempfile
from functools import cache
from typing import Any

__all__ = ["features", "put_up"]

_DENIED = (
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "fork", "vfork", "execve",
    "execveat", "ptrace", "kill", "tkill", "pidfd_open", "process_vm_readv", "process_vm_writev", "mount", "unshare",
    "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "pidfd_getfd", "prlimit64", "setrlimit",
    "setpriority", "setitimer", "alarm", "timer_settime", "process_madvise", "shmget", "mq_open", "msgget", "semget",
    # Landlock does not look at these
    "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat",
    "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "setns", "bpf", "perf_event_open", "io_uring_setup", "keyctl", "add_key", "userfaultfd", "open_by_handle_at",
)  # fmt: skip


# linux/prctl.h
_DUMPABLE, _SET_SECCOMP, _NO_NEW_PRIVS = 4, 22, 38
_FILTER = 2
_CLONE_THREAD = 0x10000


def features() -> dict[str, bool]:
    """Which walls can be put up here."""
    return {"limits": True, "landlock": _landlock_version() > 0, "seccomp": _program() is not None}


def _seccomp() -> Any:
    try:
        import pyseccomp  # noqa: PLC0415  (needs libseccomp2, which may be absent)
    except (ImportError, RuntimeError, OSError):
        return None
    return pyseccomp


def _landlock_version() -> int:
    try:
        import landlock  # noqa: PLC0415

        return int(landlock.landlock_abi_version())
    except (OSError, ImportError):
        return 0


def put_up(folder: str, limits: dict[str, int]) -> None:
    """Called in the child, once; there is no way back."""
    os.setsid()
    os.nice(5)  # people who ask wait less than papers that are parsed
    signal.setitimer(signal.ITIMER_REAL, limits["wall"])  # SIGALRM's default ends the process
    program = _program()
    for what, value in (
        (resource.RLIMIT_AS, limits["memory"]), (resource.RLIMIT_CPU, limits["cpu"]), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 1 << 30), (resource.RLIMIT_NOFILE, 64),
    ):  # fmt: skip
        resource.setrlimit(what, (value, value))
    if program is None:  # a coarser wall: no threads either, so HEIC will not open
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)  # nobody reads our memory through /proc
    if _landlock_version() > 0:
        import landlock  # noqa: PLC0415

        rules = landlock.Ruleset()
        rules.allow(folder)
        rules.allow("/dev/urandom", rules=landlock.FSAccess.READ_FILE)  # qpdf draws from it for some encrypted files
        rules.apply()
    if program is not None:
        libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program))


class _SockFprog(ctypes.Structure):
    """``struct sock_fprog``: count of 8-byte instructions and where they are."""

    _fields_ = (("count", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@cache
def _program() -> _SockFprog | None:
    """The seccomp filter, compiled once: the server calls ``features`` before it forks."""
    seccomp = _seccomp()
    if seccomp is None:
        return None
    wall = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in _DENIED:
        try:
            wall.add_rule(seccomp.ERRNO(errno.EPERM), name)
        except (OSError, RuntimeError, ValueError):
            continue  # a system call this libseccomp does not know
    # threads of this process may start (the HEIC decoder has one), processes may not; the flags of clone3 lie in memory,
    # out of a filter's sight, so it does not exist and the C library falls back to clone
    not_a_thread = seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0)
    wall.add_rule(seccomp.ERRNO(errno.EPERM), "clone", not_a_thread)
    wall.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        wall.export_bpf(file)
        file.seek(0)
        code = file.read()
    return _SockFprog(len(code) // 8, code)
