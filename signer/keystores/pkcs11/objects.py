"""Keys that live in the token, and what the token says of each.

Three kinds of private data objects carry a key's name as their label: the *record* (what the key is bound to, its CKA_ID,
the SHA-256 of its public key), and the marks *disabled* and *destroyed*. They are only ever added, so that no order of
two workers' steps brings a key back, and a name with any of them is never given again. The key pair itself is found by
its CKA_ID, 16 random bytes, alone.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pkcs11 import Attribute, MechanismFlag, ObjectClass, exceptions

from core.errors import Broken, Conflict, NotFound, Refused
from core.ids import random_bytes
from core.values import SignatureAlgorithm
from signer.keystores.pkcs11.device import Device, find, now, says
from signer.keystores.pkcs11.mechanisms import FORMS, given, normal, spki_of

__all__ = ["Objects", "generated", "hard", "signature"]

_RECORD, _DISABLED, _DESTROYED = "dauso-key", "dauso-disabled", "dauso-destroyed"
_NOT_PERMITTED, _PROHIBITED = "code 0x68", "code 0x1b"  # CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_ACTION_PROHIBITED
_KNOWN: Final = 1_024
"""Keys whose handles a worker keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What the token says of a name."""

    binding: str
    key_id: bytes
    spki_sha256: str
    records: int
    """One; none when the name is unknown."""
    disabled: bool
    destroyed: bool


@dataclass(frozen=True, slots=True)
class _Known:
    entry: _Entry
    handle: Any
    looked_at: float


class _Signs(Protocol):
    """Of python-pkcs11's private keys."""

    def sign(self, data: bytes, *, mechanism: Any, mechanism_param: Any) -> bytes: ...


def signature(key: _Signs, algorithm: SignatureAlgorithm, item: bytes) -> bytes:
    """In our form. Raises ``key.disabled`` when the token says that this key may not sign."""
    form = FORMS[algorithm]
    if not hasattr(key, "sign"):  # the library gives objects the methods that CKA_SIGN allowed when they were found
        raise Refused("key.disabled")
    try:
        value = key.sign(given(algorithm, item), mechanism=form.sign, mechanism_param=form.parameter)
    except exceptions.PKCS11Error as error:
        if says(error, _NOT_PERMITTED):
            raise Refused("key.disabled") from None
        raise
    return normal(algorithm, value)


def generated(device: Device, algorithm: SignatureAlgorithm, *, key_id: bytes, label: str, store: bool) -> Any:
    """(public, private): ``store`` in the token for good, else of this session and to be wrapped.

    Raises ``key.algorithm_unsupported``.
    """
    form, session = FORMS[algorithm], device.session
    if not {form.generate, form.sign} <= device.mechanisms:
        raise Refused("key.algorithm_unsupported")
    refused = (exceptions.DomainParamsInvalid, exceptions.MechanismInvalid, exceptions.AttributeValueInvalid)
    for curve in form.curves or (None,):
        try:
            return session.generate_keypair(
                form.key_type, form.bits, id=key_id, label=label, store=store, mechanism=form.generate,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                public_template={Attribute.EC_PARAMS: curve} if curve else {},
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: not store},
            )  # fmt: skip
        except refused:
            continue
    raise Refused("key.algorithm_unsupported")


def hard(private: Any) -> bool:
    """Whether the token keeps the key to itself, as it says."""
    return bool(private[Attribute.SENSITIVE]) and not private[Attribute.EXTRACTABLE]


class Objects:
    """Keys of the token, for one worker."""

    def __init__(self, device: Device, seconds: float) -> None:
        """``seconds``: how long what was read of a key is believed; other processes may have disabled it."""
        self._device, self._seconds = device, seconds
        self._known: OrderedDict[str, _Known] = OrderedDict()
        device.listeners.append(self.forget)

    def forget(self) -> None:
        """Everything is looked up again."""
        self._known.clear()

    def require_free(self, name: str) -> None:
        """Raises ``key.exists`` when the token knows the name, of a living key or of a dead one."""
        entry = self._entry(name)
        if entry.records or entry.disabled or entry.destroyed:
            raise Conflict("key.exists")

    def create(self, name: str, binding: str, algorithm: SignatureAlgorithm) -> bytes:
        """A new pair; its public key. Raises ``key.exists``, ``key.algorithm_unsupported``."""
        self.require_free(name)
        self._device.require_alive()  # who is logged out would find every name free
        key_id = random_bytes(16)
        public, private = generated(self._device, algorithm, key_id=key_id, label=name, store=True)
        try:
            if not hard(private):
                raise Broken("key.damaged", detail="extractable")
            spki = spki_of(algorithm, lambda a: public[a])
            self._write(name, binding, key_id, spki)
        except Exception:
            for each in (private, public):
                each.destroy()
            raise
        return spki

    def _write(self, name: str, binding: str, key_id: bytes, spki: bytes) -> None:
        """The record; of two that came at once neither stays. Raises ``key.exists``."""
        value = {"b": binding, "i": key_id.hex(), "s": hashlib.sha256(spki).hexdigest()}
        made = self._mark(name, _RECORD, json.dumps(value).encode())
        if self._entry(name).records > 1:
            made.destroy()
            raise Conflict("key.exists")

    def _mark(self, name: str, what: str, value: bytes = b"\0") -> Any:
        return self._device.session.create_object({
            Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True,
            Attribute.LABEL: name, Attribute.APPLICATION: what, Attribute.VALUE: value,
        })  # fmt: skip

    def _entry(self, name: str) -> _Entry:
        wanted = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: name}
        marks: dict[str, list[Any]] = {_RECORD: [], _DISABLED: [], _DESTROYED: []}
        for each in find(self._device.session, wanted):
            marks.get(each[Attribute.APPLICATION], []).append(each)
        records = marks[_RECORD]
        value = json.loads(records[0][Attribute.VALUE]) if records else {"b": "", "i": "", "s": ""}
        return _Entry(
            binding=value["b"], key_id=bytes.fromhex(value["i"]), spki_sha256=value["s"], records=len(records),
            disabled=bool(marks[_DISABLED]), destroyed=bool(marks[_DESTROYED]),
        )  # fmt: skip

    def _bound(self, name: str, binding: str, spki: str) -> _Entry:
        """The record that a reference leads to. Raises ``key.missing``, ``key.damaged``."""
        entry = self._entry(name)
        if entry.records == 0:
            self._device.require_alive()
            raise NotFound("key.missing")
        if entry.records > 1 or entry.binding != binding or entry.spki_sha256 != spki:
            raise Broken("key.damaged")
        return entry

    def _look(self, name: str, binding: str, spki: str) -> _Known:
        known = self._known.get(name)
        if known is None or known.looked_at + self._seconds < now():
            entry = self._bound(name, binding, spki)
            known = _Known(entry, None if entry.disabled else self._private(entry.key_id), now())
            self._known[name] = known
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        if known.entry.binding != binding or known.entry.spki_sha256 != spki:
            raise Broken("key.damaged")
        return known

    def _private(self, key_id: bytes) -> Any:
        return self._one(ObjectClass.PRIVATE_KEY, key_id)

    def _one(self, kind: ObjectClass, key_id: bytes) -> Any:
        """Raises ``key.missing``, and ``key.damaged`` when an id means two keys."""
        found = find(self._device.session, {Attribute.CLASS: kind, Attribute.TOKEN: True, Attribute.ID: key_id})
        if not found:
            self._device.require_alive()
            raise NotFound("key.missing")
        if len(found) > 1:
            raise Broken("key.damaged")
        return found[0]

    def handle(self, name: str, binding: str, spki: str) -> Any:
        """The private key. Raises ``key.missing``, ``key.damaged``, ``key.disabled``."""
        known = self._look(name, binding, spki)
        if known.entry.disabled:
            raise Refused("key.disabled")
        return known.handle

    def public(self, name: str, binding: str, spki: str, algorithm: SignatureAlgorithm) -> bytes:
        """The public key as the token has it now. Raises ``key.missing``, ``key.damaged``."""
        entry = self._bound(name, binding, spki)
        if entry.destroyed:
            raise NotFound("key.missing")
        return self._public(algorithm, entry.key_id)

    def _public(self, algorithm: SignatureAlgorithm, key_id: bytes) -> bytes:
        public = self._one(ObjectClass.PUBLIC_KEY, key_id)
        try:
            return spki_of(algorithm, lambda a: public[a])
        except (ValueError, exceptions.AttributeTypeInvalid):
            raise Broken("key.damaged") from None

    def disable(self, name: str, binding: str, spki: str) -> None:
        """The mark first: it holds where the token does not let CKA_SIGN be changed."""
        entry = self._bound(name, binding, spki)
        if entry.destroyed:
            raise NotFound("key.missing")
        if not entry.disabled:
            self._mark(name, _DISABLED)
        _allowed(lambda: self._private(entry.key_id).__setitem__(Attribute.SIGN, False))
        self.forget()

    def destroy(self, name: str, binding: str, spki: str) -> None:
        """Raises ``key.not_disabled``, ``key.missing``."""
        entry = self._bound(name, binding, spki)
        if not entry.disabled:
            raise Refused("key.not_disabled")
        if entry.destroyed:
            raise NotFound("key.missing")
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for each in find(self._device.session, {Attribute.CLASS: kind, Attribute.ID: entry.key_id}):
                each.destroy()
        self._mark(name, _DESTROYED)  # last: a crash before it leaves a disabled key that can be destroyed again
        self.forget()

    def inspect(self, name: str, key_id: bytes, algorithm: SignatureAlgorithm, challenge: bytes) -> tuple[bytes, bytes]:
        """(public key, signature over ``challenge``) of a pair that is in the token already.

        Raises ``key.missing``, ``key.extractable`` for a key that the token would hand out, ``key.exists`` when this very
        pair is ours under another name, ``key.damaged`` when it is of another kind.
        """
        private = self._private(key_id)
        if not hard(private):
            raise Refused("key.extractable")
        records = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.APPLICATION: _RECORD}
        for each in find(self._device.session, records):
            if json.loads(each[Attribute.VALUE])["i"] == key_id.hex() and each[Attribute.LABEL] != name:
                raise Conflict("key.exists")
        if private[Attribute.KEY_TYPE] != FORMS[algorithm].key_type:
            raise Broken("key.damaged")
        return self._public(algorithm, key_id), signature(private, algorithm, challenge)

    def adopt(self, name: str, binding: str, key_id: bytes, spki: bytes) -> None:
        """The record of a pair that was looked at; done twice it is done once. Raises ``key.exists``."""
        entry = self._entry(name)
        same = (binding, key_id, hashlib.sha256(spki).hexdigest())
        if entry.records == 1 and not entry.disabled and (entry.binding, entry.key_id, entry.spki_sha256) == same:
            return
        self.require_free(name)
        self._write(name, binding, key_id, spki)


def _allowed(work: Callable[[], Any]) -> None:
    """Done where the token allows it."""
    try:
        work()
    except (exceptions.AttributeReadOnly, exceptions.AttributeValueInvalid, exceptions.FunctionNotSupported):
        return
    except exceptions.PKCS11Error as error:
        if not says(error, _PROHIBITED):
            raise
