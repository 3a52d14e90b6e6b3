"""The fork server's own process: ready, then one child a request. Holds no secret and no environment."""

import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import ServiceError
from core.sandbox import walls

__all__ = ["find", "main", "serve", "warm"]


def find(where: str) -> Any:
    """``module:function``."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def main(descriptor: int) -> None:
    """Serve until the parent closes its end."""
    _, *preload = sys.argv[1:]
    warm(preload)
    serve(socket.socket(fileno=descriptor), _child)


def warm(preload: Sequence[str]) -> None:
    """Import and use what children will need."""
    gc.disable()  # until all is imported, which leaves no garbage
    walls.features()  # imports and compiles what the walls need
    for where in preload:
        find(where)()
    gc.collect()
    gc.enable()
    gc.freeze()  # children share these pages: their collector need not touch them


def serve(control: socket.socket, child: Callable[[int, str], object]) -> None:
    """Say that it is ready; then a fork for each descriptor with its folder, ``child`` in it, and its process id in answer."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    control.sendall(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            child(descriptors[0], message.decode())
        control.sendall(str(pid).encode())
        for each in descriptors:
            os.close(each)


def _child(descriptor: int, own: str) -> None:
    """One file, in a folder that the parent made and removes; ends the process whatever happens."""
    code = 1
    try:
        os.chdir(own)
        os.environ.clear()
        os.environ["TMPDIR"] = own
        tempfile.tempdir = own
        connection = socket.socket(fileno=descriptor)
        head_size, size = struct.unpack(">QQ", _exactly(connection, 16))
        request = json.loads(_exactly(connection, head_size))
        payload = _exactly(connection, size)
        function = find(request["function"])
        walls.put_up(own, request["limits"])
        answer, blob = _call(function, payload, request["arguments"])
        data = json.dumps(answer).encode()
        connection.sendall(struct.pack(">QQ", len(data), len(blob)) + data)
        connection.sendall(blob)
        code = 0
    finally:
        os._exit(code)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        count = connection.recv_into(view[got:])
        if count == 0:
            raise ConnectionError
        got += count
    return bytes(data)


def _call(function: Any, payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        result, blob = function(payload, arguments)
    except ServiceError as error:
        evidence = {k: str(v) for k, v in error.evidence.items()}
        return {"error": error.code, "kind": type(error).__name__, "evidence": evidence}, b""
    except MemoryError:
        return {"error": "sandbox.limit", "kind": "Refused", "evidence": {}}, b""
    except Exception as error:  # noqa: BLE001  (hostile bytes raise anything; only the type leaves the child)
        return {"error": type(error).__name__, "kind": "", "evidence": {}}, b""
    return {"result": result}, blob
