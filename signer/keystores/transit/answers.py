"""What is sent to transit and how its answers are read; no I/O.

Nothing is left to the server's defaults, for they are silent wrong signatures (RSA ``pss`` with the longest salt, the newest
version of the key). Every signature is asked for as an item of ``batch_input``, also a single one: one form to check, the
event's id goes into the server's audit trail as ``reference``, and what is wrong with one item is said at that item.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.errors import BadInput, Broken, NotFound, Refused, ServiceError, Unavailable
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyRef, checked

__all__ = ["REFUSED_ITEM", "Asked", "Kept", "as_key_error", "creation", "read_rows", "signing", "value_of"]

_FORM: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):(.+)", re.ASCII)
_SALTED: Final = SignatureAlgorithm.RSA_PSS_SHA256

_LEAKY: Final = ("exportable", "allow_plaintext_backup", "derived", "auto_rotate_period")

REFUSED_ITEM: Final = object()
"""The server says that this item was not signed; why is asked afterwards."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One signature that is wanted."""

    to_sign: Digest | Message
    event_id: str


def creation(kind: str) -> dict[str, Any]:
    """Body of a key's creation: what could be switched on later and never off again is off."""
    return {
        "type": kind, "exportable": False, "allow_plaintext_backup": False, "derived": False, "auto_rotate_period": "0",
    }  # fmt: skip


def signing(ref: KeyRef, asked: Sequence[Asked]) -> dict[str, Any]:
    """Body of ``POST <mount>/sign/<name>``; the version and all parameters are said."""
    digest = ref.algorithm.digest
    # Ed25519: OpenBao signs the input whatever `prehashed` says, Vault would take it as Ed25519ph
    hashed = (
        {"prehashed": False} if digest is None else {"prehashed": True, "hash_algorithm": f"sha2-{digest.value[3:]}"}
    )
    return hashed | {
        "key_version": str(ref.version),  # spelled: a policy can then forbid 0, which means the newest
        "signature_algorithm": "pss" if ref.algorithm is _SALTED else "pkcs1v15",
        "salt_length": "hash",
        "marshaling_algorithm": "asn1",
        "batch_input": [
            {"input": base64.b64encode(one.to_sign.value).decode(), "reference": _reference(place, one)}
            for place, one in enumerate(asked)
        ],
    }


def _reference(place: int, one: Asked) -> str:
    return f"{place}.{one.event_id}"


def read_rows(asked: Sequence[Asked], answer: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    """The answer's row for each item, in the order asked: by reference, or by place where the server names none.

    None where no row answers an item. A row at the wrong item does no harm: its signature does not verify there.
    """
    rows = answer.get("batch_results")
    rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    if len(rows) == len(asked) and not any(row.get("reference") for row in rows):
        return list(rows)
    named = {row.get("reference"): row for row in reversed(rows)}
    return [named.get(_reference(place, one)) for place, one in enumerate(asked)]


def value_of(ref: KeyRef, one: Asked, row: Mapping[str, Any] | None) -> Any:
    """A verified signature, a ``ServiceError``, or ``REFUSED_ITEM``."""
    if row is None:  # it was asked for and its answer is lost: it may have been signed
        return Unavailable("key.outcome_unknown")
    if row.get("error"):
        return REFUSED_ITEM
    try:
        return checked(ref, one.to_sign, _signature(ref, row))
    except ServiceError as error:
        return error


def _signature(ref: KeyRef, row: Mapping[str, Any]) -> bytes:
    """Raises ``key.wrong_version`` or ``key.wrong_signature``."""
    form = _FORM.fullmatch(str(row.get("signature")))
    if form is None:
        raise Broken("key.wrong_signature", key=ref.name)
    if int(form[1]) != ref.version or row.get("key_version", ref.version) != ref.version:
        raise Broken("key.wrong_version", key=ref.name)
    try:
        # the standard alphabet with padding alone: the url-safe one is the r‖s form, which we never ask for
        return base64.b64decode(form[2], validate=True)
    except (binascii.Error, ValueError):
        raise Broken("key.wrong_signature", key=ref.name) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A key as the server describes it."""

    kind: str
    latest: int
    spkis: Mapping[int, bytes]
    """SubjectPublicKeyInfo (DER) of each version that is there; empty for a key that cannot sign."""
    made: Mapping[int, dt.datetime]
    disabled_below: int
    """The server signs with no version below this one."""
    soft_deleted: bool
    leaky: bool
    """Exportable, in plain backups, derived or rotated: not as we have keys made, nor as we bring them in."""
    imported: bool
    """From outside."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Kept":
        """From ``GET <mount>/keys/<name>`` or the answer to a change. Raises ``key.unavailable`` for anything else."""
        try:
            versions = {int(n): v for n, v in data["keys"].items()}
            told = {n: v for n, v in versions.items() if isinstance(v, Mapping)}  # of a symmetric key: a number
            return cls(
                kind=str(data["type"]),
                latest=int(data["latest_version"]),
                spkis={n: _spki(v["public_key"]) for n, v in told.items()},
                made={n: dt.datetime.fromisoformat(_to_microseconds(v["creation_time"])) for n, v in told.items()},
                disabled_below=int(data["min_encryption_version"]),
                soft_deleted=bool(data.get("soft_deleted")),
                leaky=any(data.get(flag) for flag in _LEAKY),
                imported=bool(data.get("imported_key")),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("key.unavailable") from None

    def is_disabled(self, version: int) -> bool:
        """The server itself refuses to sign with that version."""
        return self.soft_deleted or version < self.disabled_below


def _spki(told: str) -> bytes:
    """PEM, or for Ed25519 the 32 bytes in base64."""
    key: Any
    if told.startswith("-----"):
        key = serialization.load_pem_public_key(told.encode())
    else:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(told, validate=True))
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def _to_microseconds(time: str) -> str:
    """RFC 3339 with up to nine digits of a second; Python reads six."""
    return re.sub(r"(\.\d{6})\d+", r"\1", time)


_WORDS: Final[Mapping[str, type[ServiceError]]] = {
    "key.sealed": Unavailable,
    "key.outcome_unknown": Unavailable,
    "key.unavailable": Unavailable,
    "key.bad_input": BadInput,
    "key.denied": Unavailable,
    "key.missing": NotFound,
}
_MEANING: Final = {
    "vault.sealed": "key.sealed",
    "vault.outcome_unknown": "key.outcome_unknown",
    "vault.missing": "key.missing",
    "vault.bad_request": "key.bad_input",
}


def as_key_error(error: ServiceError, name: str) -> ServiceError:
    """What ``core.vault`` raised, in the words of the key-store port; a refusal of any kind is ``key.denied``,
    and whatever else ``key.unavailable``.
    """
    code = _MEANING.get(error.code, "key.denied" if isinstance(error, Refused) else "key.unavailable")
    return _WORDS[code](code, **({"key": name} if code in {"key.denied", "key.missing"} else {}))
