"""A remote-signing service in the dialect of SP769: JSON by POST, hex digest out, raw value or CMS back, the person asked
on the service's app.

Our password and the person's number travel in request bodies only: no address, log line or error of ours holds them.
Words and numbers of the answers differ between tenants; what is not understood counts as *waiting*, never as done.
"""

import base64
import binascii
import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import NotFound, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.outbound import Outbound
from signer.providers.model import Asked, Outcome, OutcomeState, ProviderCertificate, Taken

__all__ = ["Sp769"]

_GOOD: Final = frozenset({0, 200, 102, 1001, 1002})
"""Codes inside the answer: done, and three spellings of *the person is being asked*."""
_ENDS: Final = {
    "REJECTED": OutcomeState.REFUSED, "REFUSED": OutcomeState.REFUSED, "CANCELLED": OutcomeState.REFUSED,
    "CANCELED": OutcomeState.REFUSED, "EXPIRED": OutcomeState.EXPIRED, "TIMEOUT": OutcomeState.EXPIRED,
    "FAILED": OutcomeState.FAILED,
}  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""What may stand in a path as it is."""
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, socket.gaierror)
_WAITING = Outcome(state=OutcomeState.WAITING)
_UNKNOWN = Outcome(state=OutcomeState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Said:
    """One answer: the code inside it, its word, its data."""

    code: int
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sp769:
    """Satisfies ``signer.providers.model.Provider``."""

    name: str
    url: str
    """Base address, without a final slash."""
    sp_id: str
    sp_password: str = field(repr=False)
    outbound: Outbound

    async def certificates(self, user: str) -> tuple[ProviderCertificate, ...]:
        """All that the service knows of a person. Raises ``provider.no_certificate`` and what every question raises."""
        said = await self._ask("/v1/credentials/get_certificate", {"user_id": user, "serial_number": ""})
        rows = said.data.get("user_certificates")
        found = [made for row in (rows if isinstance(rows, list) else []) if (made := _certificate(row)) is not None]
        if not found:
            raise NotFound("provider.no_certificate", provider=self.name)
        return tuple(found)

    async def submit(self, asked: Asked) -> Taken:
        """Push to the person's app. Raises ``provider.rejected`` where the service says no, before it asked anybody."""
        said = await self._ask("/v1/signatures/sign", {
            "user_id": asked.user, "serial_number": asked.serial, "transaction_id": asked.transaction_id,
            "transaction_desc": asked.description, "sign_files": [{
                "data_to_be_signed": asked.digest.hex, "doc_id": asked.transaction_id, "file_type": "pdf",
                "sign_type": "hash",
            }],
        })  # fmt: skip
        if said.code not in _GOOD:
            raise Refused("provider.rejected", provider=self.name, detail=said.code)
        seconds = said.data.get("expired_in")
        code = said.data.get("tran_code")
        return Taken(
            tran_code=code if isinstance(code, str) and _NAME.fullmatch(code) else "",
            seconds=seconds if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0 else None,
        )

    async def outcome(self, asked: Asked, tran_code: str) -> Outcome:
        """By our name of the transaction; where the tenant does not know that, by its own."""
        found = await self._status(asked, asked.transaction_id)
        if found.state is OutcomeState.UNKNOWN and tran_code:
            return await self._status(asked, tran_code)
        return found

    async def _status(self, asked: Asked, name: str) -> Outcome:
        try:
            said = await self._ask(f"/v1/signatures/sign/{name}/status", None)
        except NotFound:
            return _UNKNOWN
        if said.code == 404 or said.message in {"NOT_FOUND", "TRANSACTION_NOT_FOUND"}:
            return _UNKNOWN
        if said.message in _ENDS:
            return Outcome(state=_ENDS[said.message])
        value = _value(said.data.get("signatures"), asked.transaction_id) if said.message == "SUCCESS" else None
        return _WAITING if value is None else Outcome(state=OutcomeState.SIGNED, value=value)

    async def _ask(self, path: str, members: dict[str, Any] | None) -> _Said:
        """Raises ``provider.unreachable``, ``provider.unavailable``, ``provider.not_allowed``, ``provider.rejected``,
        ``provider.no_such_thing``.
        """
        own = {"sp_id": self.sp_id, "sp_password": self.sp_password}
        body = b"" if members is None else json.dumps({**own, **members}).encode()
        try:
            answer = await self.outbound.fetch(
                self.url + path, body=body, content_type="application/json", most=LIMITS["provider.answer_bytes"]
            )
        except ServiceError as error:
            sent = error.code != "outbound.private_address" and not isinstance(error.__cause__, _NOT_SENT)
            raise Unavailable("provider.unavailable" if sent else "provider.unreachable", provider=self.name) from error
        if answer.status >= 500:
            raise Unavailable("provider.unavailable", provider=self.name)
        if answer.status == 404:
            raise NotFound("provider.no_such_thing", provider=self.name)
        said = _read(answer.body)
        if answer.status in {401, 403} or (said is not None and said.code in {401, 403}):
            raise Refused("provider.not_allowed", provider=self.name)
        if 400 <= answer.status < 500 and answer.status not in {408, 425, 429}:
            raise Refused("provider.rejected", provider=self.name, detail=answer.status)
        if said is None or said.code >= 500 or answer.status != 200:
            raise Unavailable("provider.unavailable", provider=self.name)
        return said


def _read(body: bytes) -> _Said | None:
    """None where it is not an answer of this dialect."""
    try:
        given = json.loads(body)
        code = int(given.get("status_code", 200))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    data = given.get("data")
    return _Said(code, str(given.get("message", "")).strip().upper(), data if isinstance(data, dict) else {})


def _certificate(row: Any) -> ProviderCertificate | None:
    """One of ``user_certificates``; None where it cannot be read."""
    if not isinstance(row, dict):
        return None
    chain = row.get("chain_data")
    given = [chain.get("ca_cert"), chain.get("root_cert")] if isinstance(chain, dict) else []
    certificate = _der(row.get("cert_data"))
    if certificate is None:
        return None
    return ProviderCertificate(
        certificate=certificate, chain=tuple(d for each in given if (d := _der(each)) is not None)
    )


def _der(text: Any) -> bytes | None:
    """A certificate in base64, with or without the lines of PEM around it."""
    if not isinstance(text, str) or not text:
        return None
    raw = _base64("".join(line for line in text.splitlines() if not line.startswith("-----")))
    try:
        return None if raw is None else x509.load_der_x509_certificate(raw).public_bytes(Encoding.DER)
    except ValueError:
        return None


def _value(rows: Any, document_id: str) -> bytes | None:
    """The signature of our document; the only one there may stand without a name."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    mine = [row for row in found if row.get("doc_id") == document_id]
    if not mine and len(found) == 1 and not found[0].get("doc_id"):
        mine = found
    return _base64(mine[0].get("signature_value")) if len(mine) == 1 else None


def _base64(text: Any) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None if isinstance(text, str) else None
    except (ValueError, binascii.Error):
        return None
