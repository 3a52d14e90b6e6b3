"""A small server that answers as a script says: for what the real one cannot be made to do on demand."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from core.vault import TokenFile, VaultConfig

HEALTH = {"initialized": True, "sealed": False, "standby": False, "version": "2.6.2"}


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Step = Callable[["Scripted", socket.socket, Asked], None]


def says(status: int, body: Any = None, **headers: str) -> Step:
    """An answer; ``body``: bytes as they are, anything else as JSON."""

    def step(_server: "Scripted", wire: socket.socket, _asked: Asked) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        wire.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    return step


def errs(status: int, *errors: str) -> Step:
    return says(status, {"errors": list(errors)})


def hangs_up(_server: "Scripted", wire: socket.socket, _asked: Asked) -> None:
    """It has read the call and goes away."""
    wire.shutdown(socket.SHUT_RDWR)


def sleeps(server: "Scripted", _wire: socket.socket, _asked: Asked) -> None:
    """No answer until the server is closed."""
    server.over.wait(20)


def trickles(server: "Scripted", wire: socket.socket, _asked: Asked) -> None:
    """Header bytes one by one: no pause is long enough for a socket's own timeout."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 500:
        if server.over.is_set():
            return
        wire.sendall(bytes([byte]))
        time.sleep(0.05)


def cut_short(_server: "Scripted", wire: socket.socket, _asked: Asked) -> None:
    """A status, and half the body that was promised."""
    wire.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"data": {"signa')
    wire.shutdown(socket.SHUT_RDWR)


class Scripted:
    """Answers logins and ``sys/health`` by itself, everything else by the next step of ``script``; the last one stays."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.asked: list[Asked] = []
        self.logins = 0
        self.over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._wires: list[socket.socket] = []
        self._lock = threading.Lock()
        self._spawn(self._accept)

    def config(self, folder: Path, **more: Any) -> VaultConfig:
        token = folder / "token"
        if not token.exists():
            token.write_text("s.scripted-token\n")
        return VaultConfig(**({"url": self.url, "login": TokenFile(path=token)} | more))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with contextlib.suppress(OSError):  # wakes who waits in accept
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._socket.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                wire, _ = self._socket.accept()
            except OSError:
                return
            self._wires.append(wire)
            self._spawn(self._serve, wire)

    def _serve(self, wire: socket.socket) -> None:
        with wire, wire.makefile("rb") as stream:
            while not self.over.is_set():
                try:
                    asked = self._read(stream)
                    if asked is None:
                        return
                    self._answer(wire, asked)
                except OSError:
                    return

    @staticmethod
    def _read(stream: Any) -> Asked | None:
        first = stream.readline().decode().split()
        if len(first) < 2:
            return None
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Asked(
            first[0], first[1].removeprefix("/v1/"), headers, stream.read(int(headers.get("content-length", 0)))
        )

    def _answer(self, wire: socket.socket, asked: Asked) -> None:
        if asked.path == "sys/health":
            says(200, HEALTH)(self, wire, asked)
        elif asked.path == "auth/token/lookup-self":
            self.logins += 1
            says(200, {"data": {"ttl": 3600, "renewable": False}})(self, wire, asked)
        else:
            with self._lock:
                self.asked.append(asked)
                step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            step(self, wire, asked)
