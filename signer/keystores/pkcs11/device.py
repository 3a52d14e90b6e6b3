"""One token, one session, one thread: everything of a worker that depends on the session's state.

* The library calls ``C_Initialize`` without locks, so nothing here may run in a second thread.
* ``Session.close`` would log the whole process out; the session lives as long as the process.
* A lost session (removed token, log-out behind our back) is answered by starting the module anew, once a call; every
  handle is forgotten then. A logged-out session *finds nothing* instead of failing, so "not found" is believed only
  when the session proves to be alive.
* A wrong PIN is never tried twice, by no worker: three of them lock most tokens. Workers share one byte for that.
"""

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, Mechanism, ObjectClass, exceptions

from core.errors import ServiceError, Unavailable

__all__ = ["Device", "Lost", "find", "now", "says"]

_T = TypeVar("_T")

_LOST: Final = (
    exceptions.SessionHandleInvalid, exceptions.SessionClosed, exceptions.DeviceRemoved, exceptions.DeviceError,
    exceptions.TokenNotPresent, exceptions.TokenNotRecognised, exceptions.UserNotLoggedIn, exceptions.SlotIDInvalid,
    exceptions.KeyHandleInvalid, exceptions.ObjectHandleInvalid, exceptions.UnwrappingKeyHandleInvalid,
    exceptions.WrappingKeyHandleInvalid,
)  # fmt: skip
"""Nothing was done; a new session, or a new look for the object, may help."""

_HALF_SEEN: Final = (exceptions.GeneralError, exceptions.FunctionFailed)
"""What SoftHSM says of an object that another process is writing; nothing was done."""

_PIN: Final = (
    exceptions.PinIncorrect, exceptions.PinLocked, exceptions.PinExpired, exceptions.PinInvalid, exceptions.PinLenRange,
)  # fmt: skip

_ANCHOR: Final = {
    Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True,
    Attribute.APPLICATION: "dauso-anchor", Attribute.LABEL: "dauso",
}  # fmt: skip
"""An object that is always there while the token is, and is seen by who is logged in alone."""

_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between two looks for the token: who writes to it may have to wait for a busy machine meanwhile."""

_PIN_BYTES = 256
_NOT_INITIALIZED = "(not initialized)"


def says(error: pkcs11.PKCS11Error, words: str) -> bool:
    """Whether it is a return value that the library has no class for, only a text."""
    return type(error) is pkcs11.PKCS11Error and words in str(error)


class Lost(Exception):
    """The session proved to be dead; never leaves a worker."""


def find(session: Any, template: Mapping[Attribute, Any]) -> list[Any]:
    """All objects that match; the search is over when this returns, else every later call would be refused."""
    return list(session.get_objects(dict(template)))


class Device:
    """The module, its token and the session."""

    def __init__(self, *, module: str, token: str, pin_file: str, denied: int) -> None:
        """``denied``: descriptor of the byte that workers share; nothing is opened yet."""
        self._module, self.label, self._pin_file, self._denied = module, token, Path(pin_file), denied
        self._library: Any = None
        self._session: Any = None
        self.mechanisms: frozenset[Mechanism] = frozenset()
        self.product, self.maker = "", ""
        self._anchored = False
        self.listeners: list[Callable[[], None]] = []
        """Called when handles are worth nothing any more."""

    def __repr__(self) -> str:
        return f"Device({self.label!r})"

    @property
    def session(self) -> Any:
        """The one session. Raises ``key.unavailable`` or ``key.denied`` when the token cannot be opened."""
        if self._session is None:
            self._open()
        return self._session

    def run(self, work: Callable[[], _T]) -> _T:
        """``work``, a second time after a lost session. Raises ``Unavailable`` when that does not help.

        ``work`` must go on where it stopped: what it did before stays done.
        """
        for last in (False, True):
            try:
                return work()
            except ServiceError:
                raise
            except (Lost, *_LOST) as error:
                self.forget()
                if last:
                    raise Unavailable("key.unavailable", detail=type(error).__name__) from None
            except pkcs11.PKCS11Error as error:
                # whatever it was, the session may be in any state now
                self.forget()
                if not last and (says(error, _NOT_INITIALIZED) or isinstance(error, _HALF_SEEN)):
                    continue
                raise Unavailable("key.unavailable", detail=type(error).__name__) from None
        raise AssertionError

    def forget(self) -> None:
        """No handle is used again; the next call opens anew."""
        self._session = None
        for each in self.listeners:
            each()

    def require_alive(self) -> None:
        """Raises ``Lost`` when the session is logged out or its token gone: searches would find nothing, silently."""
        session = self.session
        probe = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: False, Attribute.PRIVATE: True}
        session.create_object(probe | {Attribute.APPLICATION: "dauso", Attribute.VALUE: b"\0"}).destroy()
        if self._anchored and not find(session, _ANCHOR):
            raise Lost

    def _open(self) -> None:
        """A module just started, logged in; one worker at a time, and none after a PIN was refused."""
        fcntl.lockf(self._denied, fcntl.LOCK_EX)
        try:
            token, session = self._entered()
            self.maker = token.manufacturer_id.strip()
            self.product = f"{self.maker}, {token.model.strip()} {'.'.join(map(str, token.firmware_version))}"
            self.mechanisms = frozenset(token.slot.get_mechanisms())
            self._anchored = _anchor(session)
            self._session = session
        except pkcs11.PKCS11Error as error:
            raise Unavailable("key.unavailable", detail=type(error).__name__) from None
        finally:
            fcntl.lockf(self._denied, fcntl.LOCK_UN)

    def _entered(self) -> tuple[Any, Any]:
        """Token and session; tried again after a moment, since SoftHSM half sees a token that another process writes to."""
        for pause in (*_PAUSES, None):
            try:
                token = self._token()
                return token, self._logged_in(token)
            except (exceptions.NoSuchToken, exceptions.UserPinNotInitialized) as error:
                if pause is None:
                    missing = isinstance(error, exceptions.NoSuchToken)
                    detail = "no token of that label" if missing else "the token has no user PIN"
                    raise Unavailable("key.unavailable", detail=detail) from None
                time.sleep(pause)
        raise AssertionError

    def _token(self) -> Any:
        try:
            if self._library is None:
                self._library = pkcs11.lib(self._module)
            else:
                self.end()
                self._library.initialize()
            return self._library.get_token(token_label=self.label)
        except exceptions.NoSuchToken:
            raise
        except exceptions.MultipleTokensReturned:
            raise Unavailable("key.unavailable", detail="several tokens of that label") from None
        except pkcs11.PKCS11Error:
            raise Unavailable("key.unavailable", detail="module") from None

    def _logged_in(self, token: Any) -> Any:
        if os.pread(self._denied, 1, 0) == b"\1":
            raise Unavailable("key.denied", detail="pin")
        try:
            return token.open(rw=True, user_pin=self._pin())
        except _PIN:
            os.pwrite(self._denied, b"\1", 0)
            raise Unavailable("key.denied", detail="pin") from None

    def _pin(self) -> str:
        try:
            with self._pin_file.open("rb") as file:
                return file.read(_PIN_BYTES).rstrip(b"\r\n").decode()
        except (OSError, UnicodeDecodeError):
            raise Unavailable("key.unavailable", detail="pin file") from None

    def end(self) -> None:
        """The module is told that the process ends; crashes of foreign code at an exit are nobody's loss."""
        if self._library is not None:
            try:
                self._library.finalize()
            except pkcs11.PKCS11Error:
                return


def _anchor(session: Any) -> bool:
    """Dropped once; false in a token that nobody may write to, whose absence then shows in the probe alone."""
    try:
        if not find(session, _ANCHOR):
            session.create_object(dict(_ANCHOR) | {Attribute.VALUE: b"\0"})
    except pkcs11.PKCS11Error:
        return False
    return True


def now() -> float:
    """Seconds that only grow, for waiting."""
    return time.monotonic()
