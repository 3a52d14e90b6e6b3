"""What hostile bytes would like to do; run inside the sandbox by its tests."""

import os
import socket
import time


def warm():
    pass


def try_things(payload, arguments):
    def attempt(thing):
        try:
            thing()
        except OSError as error:
            return type(error).__name__
        return "done"

    ppid = os.getppid()
    return {
        "socket": attempt(lambda: socket.socket()),
        "fork": attempt(lambda: os.fork() or os._exit(0)),
        "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
        "passwd": attempt(lambda: open("/etc/passwd").read()),
        "outside": attempt(lambda: open(arguments["outside"]).read()),
        "environ": attempt(lambda: open(f"/proc/{ppid}/environ").read()),
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
