"""A worker: a process of its own with the module, one session and one thread. Started by ``pool`` as a fresh interpreter.

It answers one call at a time and ends when the service closes the pipe. An alarm ends it in the middle of a call that
hangs, so that it never outlives a service that died. Nothing is ever printed: what foreign code writes goes nowhere.
"""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from core.errors import BadInput, ServiceError, Unavailable
from core.values import SignatureAlgorithm
from signer.keystores.pkcs11.device import Device
from signer.keystores.pkcs11.objects import Objects, signature
from signer.keystores.pkcs11.wire import HEAD, MOST, frame, opened, told
from signer.keystores.pkcs11.wrapped import Parcel, Wrapped

__all__ = ["Worker", "main"]

_DUMPABLE: Final = 4  # linux/prctl.h

Body = dict[str, Any]


class Worker:
    """The operations, by name; bodies and answers as ``wire`` carries them."""

    def __init__(self, settings: Body, denied: int) -> None:
        self.device = Device(
            module=settings["module"], token=settings["token"], pin_file=settings["pin_file"], denied=denied
        )
        self._objects = Objects(self.device, settings["record_seconds"])
        self._wrapped = Wrapped(self.device, settings["unwrapped"])
        self._epoch = 0
        self._operations: dict[str, Callable[[Body], Body]] = {
            "health": self._health, "create": self._create, "wrap": self._wrap, "sign": self._sign,
            "public": self._public, "disable": self._disable, "destroy": self._destroy, "inspect": self._inspect,
            "adopt": self._adopt,
        }  # fmt: skip

    def answer(self, request: Body) -> Body:
        """The result, or the error as ``wire.told``; never raises."""
        try:
            operation = self._operations.get(str(request.get("op")))
            if operation is None:
                raise BadInput("key.bad_input")
            return self._current(operation, request)
        except ServiceError as error:
            return {"error": told(error)}
        except Exception as error:  # noqa: BLE001 - only the type leaves: foreign texts may hold anything
            self.device.forget()
            return {"error": told(Unavailable("key.unavailable", detail=type(error).__name__))}

    def _current(self, operation: Callable[[Body], Body], request: Body) -> Body:
        """After another worker disabled or destroyed something, nothing remembered is believed."""

        def work() -> Body:
            if request.get("epoch", 0) != self._epoch:
                self._objects.forget()
                self._wrapped.empty()
                self._epoch = request["epoch"]
            return operation(request)

        return self.device.run(work)

    def _health(self, _request: Body) -> Body:
        self.device.require_alive()
        return {"product": self.device.product, "maker": self.device.maker}

    def _create(self, request: Body) -> Body:
        return {"spki": self._objects.create(request["name"], request["binding"], _algorithm(request)).hex()}

    def _wrap(self, request: Body) -> Body:
        self._objects.require_free(request["name"])
        made = self._wrapped.create(request["binding"], _algorithm(request))
        if made is None:  # what the token cannot wrap lives in it
            return self._create(request)
        return {
            "spki": made.spki.hex(), "blob": made.blob.hex(), "tag": made.tag.hex(), "kek": made.kek.hex(),
            "mac": made.mac.hex(),
        }  # fmt: skip

    def _handle(self, request: Body) -> Any:
        if "blob" in request:
            return self._wrapped.handle(_parcel(request), _algorithm(request))
        return self._objects.handle(request["name"], request["binding"], request["spki_sha256"])

    def _sign(self, request: Body) -> Body:
        """One value or error an item, in order; ``done`` outlives a lost session, so nothing is signed twice."""
        done: list[Body] = request.setdefault("done", [])
        key, algorithm = self._handle(request), _algorithm(request)
        for item in request["items"][len(done) :]:
            try:
                done.append({"value": signature(key, algorithm, bytes.fromhex(item)).hex()})
            except ServiceError as error:
                done.append({"error": told(error)})
        return {"results": done}

    def _public(self, request: Body) -> Body:
        if "blob" in request:
            parcel = _parcel(request)
            self._wrapped.require_bound(parcel)
            return {"spki": parcel.spki.hex()}
        name, binding, spki = request["name"], request["binding"], request["spki_sha256"]
        return {"spki": self._objects.public(name, binding, spki, _algorithm(request)).hex()}

    def _disable(self, request: Body) -> Body:
        self._objects.disable(request["name"], request["binding"], request["spki_sha256"])
        return {}

    def _destroy(self, request: Body) -> Body:
        self._objects.destroy(request["name"], request["binding"], request["spki_sha256"])
        return {}

    def _inspect(self, request: Body) -> Body:
        key_id, challenge = bytes.fromhex(request["key_id"]), bytes.fromhex(request["challenge"])
        spki, value = self._objects.inspect(request["name"], key_id, _algorithm(request), challenge)
        return {"spki": spki.hex(), "value": value.hex()}

    def _adopt(self, request: Body) -> Body:
        key_id, spki = bytes.fromhex(request["key_id"]), bytes.fromhex(request["spki"])
        self._objects.adopt(request["name"], request["binding"], key_id, spki)
        return {}


def _algorithm(request: Body) -> SignatureAlgorithm:
    return SignatureAlgorithm(request["algorithm"])


def _parcel(request: Body) -> Parcel:
    parts = {name: bytes.fromhex(request[name]) for name in ("spki", "blob", "tag", "kek", "mac")}
    return Parcel(binding=request["binding"], **parts)


def _alone() -> None:
    """No core file and no reading of our memory: it holds the PIN, and with SoftHSM the keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the service, which closes the pipe
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _exactly(pipe: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = pipe.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def _receive(pipe: socket.socket) -> Body:
    (size,) = HEAD.unpack(_exactly(pipe, HEAD.size))
    if size > MOST:
        raise EOFError
    return opened(_exactly(pipe, size))


def main(descriptor: int, denied: int) -> None:
    """Serve until the service closes its end; ``denied`` is the byte that workers share. Ends the process."""
    code = 1
    try:
        _alone()
        pipe = socket.socket(fileno=descriptor)
        settings = _receive(pipe)
        worker = Worker(settings, denied)
        # the first answer says that the process runs; a token that cannot be opened is an answer, not an end
        pipe.sendall(frame(_timed(lambda: worker.answer({"op": "health"}), settings["open_seconds"])))
        while True:
            request = _receive(pipe)
            pipe.sendall(frame(_timed(lambda asked=request: worker.answer(asked), request["seconds"])))  # type: ignore[misc]
    except (EOFError, OSError, ValueError):
        code = 0
    finally:
        if "worker" in locals():
            _timed(worker.device.end, 5)
        os._exit(code)  # foreign destructors crash at a normal end


def _timed(work: Callable[[], Any], seconds: float) -> Any:
    """The kernel ends the process when ``work`` takes longer; the service, if it lives, does so a little earlier."""
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
