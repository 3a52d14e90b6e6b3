"""Many signers: private keys that leave the token wrapped under its KEK and come back for a signature.

The token makes the key, wraps it (AES key wrap) and forgets it; the service keeps the blob. A blob says nothing of whose
it is, so the token also makes an HMAC over the blob and all that the key is bound to: name, version, purpose, algorithm,
public key. It is checked here before a blob is unwrapped: a blob, a row or a reference in another's place is
``key.damaged``. Both keys never leave the token; rows name them by CKA_ID.
"""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Final

from pkcs11 import DEFAULT, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, exceptions

from core.errors import Broken, NotFound
from core.ids import random_bytes
from core.values import SignatureAlgorithm
from signer.keystores.pkcs11.device import Device, find
from signer.keystores.pkcs11.mechanisms import FORMS, spki_of
from signer.keystores.pkcs11.objects import generated

__all__ = ["Parcel", "Wrapped"]

_KEK, _MAC = "dauso-kek", "dauso-mac"
_WRAPS: Final = (Mechanism.AES_KEY_WRAP_KWP, Mechanism.AES_KEY_WRAP_PAD)
"""RFC 5649 by its name of today, and by the older one (SoftHSM, most HSMs in service)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A wrapped key with what it is bound to, as the service hands it over."""

    binding: str
    spki: bytes
    blob: bytes
    tag: bytes
    kek: bytes
    mac: bytes

    @property
    def bound(self) -> bytes:
        """What the tag is over."""
        members = {
            "b": self.binding, "s": self.spki.hex(), "w": self.blob.hex(), "k": self.kek.hex(), "m": self.mac.hex()
        }  # fmt: skip
        return b"dauso/pkcs11-wrapped/v1\n" + json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


class Wrapped:
    """Wrapped keys, for one worker."""

    def __init__(self, device: Device, most: int) -> None:
        """``most``: unwrapped keys that are kept in the session at a time."""
        self._device, self._most = device, most
        self._masters: dict[bytes, Any] = {}
        self._open: OrderedDict[bytes, Any] = OrderedDict()
        device.listeners.append(self.forget)

    def forget(self) -> None:
        """No handle is used again. Session objects end with their session; a living one is left to ``empty``."""
        self._masters.clear()
        self._open.clear()

    def empty(self) -> None:
        """Unwrapped keys are destroyed."""
        while self._open:
            self._open.popitem()[1].destroy()

    @property
    def able(self) -> bool:
        """Whether this token can wrap and authenticate at all."""
        return self._mechanism is not None and self._device.mechanisms >= {Mechanism.SHA256_HMAC, Mechanism.AES_KEY_GEN}

    @property
    def _mechanism(self) -> Mechanism | None:
        return next((m for m in _WRAPS if m in self._device.mechanisms), None)

    def create(self, binding: str, algorithm: SignatureAlgorithm) -> Parcel | None:
        """A new key; None when the token cannot wrap keys of that kind. Raises ``key.algorithm_unsupported``."""
        self._device.require_alive()  # who is logged out would find no KEK and make another
        if not self.able:
            return None
        kek = self._made(_KEK, KeyType.AES, Mechanism.AES_KEY_GEN, MechanismFlag.WRAP | MechanismFlag.UNWRAP)
        mac = self._made(
            _MAC, KeyType.GENERIC_SECRET, Mechanism.GENERIC_SECRET_KEY_GEN, MechanismFlag.SIGN | MechanismFlag.VERIFY
        )
        public, private = generated(self._device, algorithm, key_id=random_bytes(16), label="", store=False)
        try:
            spki = spki_of(algorithm, lambda a: public[a])
            blob = kek.wrap_key(private, mechanism=self._mechanism)
        except (exceptions.KeyNotWrappable, exceptions.KeyUnextractable):
            return None
        finally:
            private.destroy()
            public.destroy()
        parcel = Parcel(binding=binding, spki=spki, blob=blob, tag=b"", kek=kek[Attribute.ID], mac=mac[Attribute.ID])
        return replace(parcel, tag=mac.sign(parcel.bound, mechanism=Mechanism.SHA256_HMAC))

    def _made(self, label: str, key_type: KeyType, mechanism: Mechanism, capabilities: MechanismFlag) -> Any:
        """The token's own key of that name, made when it is first needed.

        Two hosts that begin at once make one each: new rows take the one with the smaller id, and name it.
        """
        found = self._masters_of(label)
        if not found:
            self._device.session.generate_key(
                key_type, 256, id=random_bytes(16), label=label, store=True, capabilities=capabilities,
                mechanism=mechanism, template={Attribute.EXTRACTABLE: False},
            )  # fmt: skip
            found = self._masters_of(label)
        return found[0]

    def _masters_of(self, label: str) -> list[Any]:
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True, Attribute.LABEL: label}
        return sorted(find(self._device.session, wanted), key=lambda each: bytes(each[Attribute.ID]))

    def _master(self, label: str, key_id: bytes) -> Any:
        """Raises ``key.missing``: without it no key wrapped under it works."""
        if key_id not in self._masters:
            wanted = {
                Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True, Attribute.LABEL: label,
                Attribute.ID: key_id,
            }  # fmt: skip
            found = find(self._device.session, wanted)
            if not found:
                self._device.require_alive()
                raise NotFound("key.missing", detail=label)
            self._masters[key_id] = found[0]
        return self._masters[key_id]

    def require_bound(self, parcel: Parcel) -> None:
        """Raises ``key.damaged`` when anything of the parcel is another's."""
        mac = self._master(_MAC, parcel.mac)
        try:
            good = mac.verify(parcel.bound, parcel.tag, mechanism=Mechanism.SHA256_HMAC)
        except (exceptions.SignatureLenRange, exceptions.SignatureInvalid):
            good = False
        if not good:
            raise Broken("key.damaged")

    def handle(self, parcel: Parcel, algorithm: SignatureAlgorithm) -> Any:
        """The private key as an object of this session. Raises ``key.damaged``, ``key.missing``."""
        place = hashlib.sha256(parcel.bound + parcel.tag).digest()
        if place in self._open:
            self._open.move_to_end(place)
            return self._open[place]
        self.require_bound(parcel)
        kek = self._master(_KEK, parcel.kek)
        none = dict.fromkeys((Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP), DEFAULT)
        try:
            key = kek.unwrap_key(
                ObjectClass.PRIVATE_KEY, FORMS[algorithm].key_type, parcel.blob, mechanism=self._mechanism, store=False,
                capabilities=MechanismFlag.SIGN,
                template={
                    **none, Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False,
                },
            )  # fmt: skip
        except (exceptions.WrappedKeyInvalid, exceptions.WrappedKeyLenRange, exceptions.TemplateInconsistent):
            raise Broken("key.damaged") from None
        self._open[place] = key
        if len(self._open) > self._most:
            self._open.popitem(last=False)[1].destroy()
        return key
