"""What hostile bytes would like to do; run inside the sandbox by its tests."""

import errno
import os
import signal
import socket
import threading
import time
from pathlib import Path


def warm():
    pass


def try_things(payload, arguments):
    def attempt(thing):
        try:
            thing()
        except OSError as error:
            return "refused" if error.errno in {errno.EPERM, errno.EACCES} else repr(error)
        return "done"

    ppid = os.getppid()
    return {
        "socket": attempt(lambda: socket.socket()),
        "fork": attempt(lambda: os.fork() or os._exit(0)),
        "spawn": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
        "passwd": attempt(lambda: open("/etc/passwd").read()),
        "outside": attempt(lambda: open(arguments["outside"]).read()),
        "environ": attempt(lambda: open(f"/proc/{ppid}/environ").read()),
        "chmod": attempt(lambda: os.chmod(arguments["outside"], 0o777)),
        "signal": attempt(lambda: signal.pthread_kill(threading.get_ident(), 0)),
        "timer": attempt(lambda: signal.setitimer(signal.ITIMER_REAL, 0)),
        "inside": attempt(lambda: open("mine", "w").write("x")),
        "env": dict(os.environ),
    }, payload[::-1]


def eat_memory(payload, arguments):
    return {"n": len(bytearray(8 << 30))}, b""


def burn(payload, arguments):
    while True:
        pass


def sleep(payload, arguments):
    time.sleep(60)


def fault(payload, arguments):
    raise KeyError("secret bytes of the file")


def stay(payload, arguments):
    """Ignores its own alarm."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    for _ in range(50):
        time.sleep(0.1)
        Path("alive").write_text(".")
    return {}, b""


def lie(payload, arguments):
    """Answers past the protocol: a size nobody should allocate, or a shape nobody should trust."""
    import os
    import struct

    channel = next(fd for fd in range(3, 64) if _is_socket(fd))
    if arguments["how"] == "size":
        os.write(channel, struct.pack(">QQ", 2, 1 << 40) + b"{}")
    else:
        text = arguments["how"].encode()
        os.write(channel, struct.pack(">QQ", len(text), 0) + text)
    os._exit(0)


def _is_socket(fd):
    import os
    import stat

    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
