"""What the simulated service does: takes a digest, waits for a person, signs; and misbehaves as it is told to.

It keeps the worst promises that a real one may keep: a repeated request makes a second transaction, callbacks are not
signed, and an answer may be lost after the work was done.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import hmac
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from api.simulate.people import People, SimulatedPerson
from core.clock import Clock
from core.errors import BadInput, NotFound, ServiceError
from core.ids import random_bytes
from core.outbound import Outbound
from core.values import Digest
from signer.providers.model import plain_serial

__all__ = ["Answer", "Fault", "Simulator", "Transaction", "faults_of"]

Answer = tuple[int, dict[str, Any]]
"""HTTP status and JSON body."""


class Fault(StrEnum):
    """What can be told to go wrong; several at a time."""

    SLOW = "slow"
    """Each answer takes its time."""
    LOST_CALLBACK = "lost-callback"
    """The webhook is never called."""
    FORGED_CALLBACK = "forged-callback"
    """Somebody calls the webhook at once and says that it is signed."""
    WRONG_SIGNATURE = "wrong-signature"
    """The value is over something else."""
    OTHER_CERTIFICATE = "other-certificate"
    """Somebody else's certificate and key."""
    EXPIRED = "expired"
    """The person's time is over at once."""
    REFUSED = "refused"
    """The person refuses at once."""
    HTTP_500 = "http-500"
    """Requests are taken, and answered with 500; every second question for the state is, too."""
    PKCS7 = "pkcs7"
    """The value comes inside a SignedData."""
    TRAN_CODE_AS_ID = "tran-code-as-id"
    """The state is known under the service's own code only."""


def faults_of(names: str) -> frozenset[Fault]:
    """``slow,pkcs7``. Raises ``simulate.unknown_fault``."""
    found = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in set(Fault):
            raise BadInput("simulate.unknown_fault", fault=name[:40], known=", ".join(Fault))
        found.add(Fault(name))
    return frozenset(found)


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One digest that waits for, or has got, a person's word."""

    id: str
    """The caller's name for it."""
    code: str
    """Ours."""
    person: SimulatedPerson
    digest: bytes
    document: str
    description: str
    made_at: dt.datetime
    ends_at: dt.datetime
    state: str = "waiting"
    value: str = ""
    asked: int = 0


_WORDS: Final = {"waiting": "WAITING_FOR_SIGNER", "signed": "SUCCESS", "refused": "REJECTED", "expired": "EXPIRED"}


@dataclass(slots=True, kw_only=True)
class Simulator:
    """State in memory; people may lie in a folder."""

    people: People
    clock: Clock
    outbound: Outbound
    sp_id: str = "dauso-simulated"
    sp_password: str = field(default="", repr=False)
    webhook: str = ""
    """Address that is told; empty means nobody."""
    auto: float | None = None
    """Seconds after which every request is approved by itself; None waits for the operator."""
    seconds: int = 300
    """How long a person has."""
    slow: float = 1.5
    """Seconds of a slow answer."""
    faults: frozenset[Fault] = frozenset()
    transactions: list[Transaction] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # ------------------------------------------------------------------------------------- what the service answers
    async def get_certificate(self, given: dict[str, Any]) -> Answer:
        """``/v1/credentials/get_certificate``."""
        await self._pause()
        person, refusal = self._known(given)
        if person is None:
            return refusal
        if Fault.HTTP_500 in self.faults:
            return _broken()
        if Fault.OTHER_CERTIFICATE in self.faults:
            person = self.people.other_than(person)
        issuing, root = (base64.b64encode(each).decode() for each in self.people.chain)
        row = {
            "cert_id": person.number[-4:], "serial_number": person.serial,
            "cert_data": base64.b64encode(person.certificate).decode(),
            "chain_data": {"ca_cert": issuing, "root_cert": root},
        }  # fmt: skip
        return 200, {"status_code": 200, "message": "SUCCESS", "data": {"user_certificates": [row]}}

    async def sign(self, given: dict[str, Any]) -> Answer:
        """``/v1/signatures/sign``: exactly one digest."""
        person, refusal = self._known(given)
        if person is None:
            await self._pause()
            return refusal
        files = given.get("sign_files")
        try:
            (file,) = files if isinstance(files, list) else []
            digest, document = bytes.fromhex(file["data_to_be_signed"]), str(file["doc_id"])
            well = len(digest) == 32 and file["data_to_be_signed"] == digest.hex() and file["sign_type"] == "hash"
            name = str(given["transaction_id"])
        except (ValueError, KeyError, TypeError):
            well, digest, document, name = False, b"", "", ""
        if not well or not _same_serial(given.get("serial_number"), person):
            return 200, {"status_code": 400, "message": "BAD_REQUEST", "data": None}
        transaction = self._made(person, name, digest, document, str(given.get("transaction_desc", "")))
        await self._pause()
        if Fault.HTTP_500 in self.faults:
            return _broken()
        data = {"transaction_id": name, "tran_code": transaction.code, "expired_in": self.seconds}
        return 200, {"status_code": 200, "message": "SUCCESS", "data": data}

    async def status(self, name: str) -> Answer:
        """``/v1/signatures/sign/{id}/status``."""
        await self._pause()
        by_code = Fault.TRAN_CODE_AS_ID in self.faults
        found = next((t for t in self.transactions if name == (t.code if by_code else t.id)), None)
        if found is None:
            return 404, {"status_code": 404, "message": "NOT_FOUND", "data": None}
        self._expire(found)
        found.asked += 1
        if Fault.HTTP_500 in self.faults and found.asked % 2:
            return _broken()
        data = {"transaction_id": found.id, "signatures": self._signatures(found)}
        return 200, {"status_code": 200, "message": _WORDS[found.state], "data": data}

    # -------------------------------------------------------------------------------------------- what people decide
    def decide(self, code: str, approve: bool) -> None:
        """On the person's app. Raises ``simulate.unknown_transaction``."""
        found = next((t for t in self.transactions if t.code == code), None)
        if found is not None:
            self._expire(found)
        if found is None or found.state != "waiting":
            raise NotFound("simulate.unknown_transaction")
        found.state = "signed" if approve else "refused"
        found.value = self._value(found) if approve else ""
        if Fault.LOST_CALLBACK not in self.faults:
            self._tell(found.id, _WORDS[found.state], self._signatures(found))

    async def close(self) -> None:
        """Nothing more happens."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --------------------------------------------------------------------------------------------------------- inner
    def _known(self, given: dict[str, Any]) -> tuple[SimulatedPerson | None, Answer]:
        """The person asked for, if the caller may ask."""
        told = [str(given.get("sp_id", "")), str(given.get("sp_password", ""))]
        wanted = [self.sp_id, self.sp_password]
        if not all(hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(told, wanted, strict=True)):
            return None, (401, {"status_code": 401, "message": "UNAUTHORIZED", "data": None})
        person = self.people.find(str(given.get("user_id", "")))
        return person, (200, {"status_code": 404, "message": "USER_NOT_FOUND", "data": None})

    def _made(self, person: SimulatedPerson, name: str, digest: bytes, document: str, description: str) -> Transaction:
        now, given = self.clock.now(), 0 if Fault.EXPIRED in self.faults else self.seconds
        made = Transaction(
            id=name, code=random_bytes(8).hex().upper(), person=person, digest=digest, document=document,
            description=description, made_at=now, ends_at=now + dt.timedelta(seconds=given),
        )  # fmt: skip
        self.transactions.append(made)
        if Fault.FORGED_CALLBACK in self.faults:
            rubbish = [{"doc_id": document, "signature_value": base64.b64encode(bytes(256)).decode()}]
            self._tell(name, "SUCCESS", rubbish)
            self._tell("0" * 32, "SUCCESS", rubbish)
        if Fault.REFUSED in self.faults:
            self._start(self._later(made.code, 0, approve=False))
        elif self.auto is not None:
            self._start(self._later(made.code, self.auto, approve=True))
        return made

    async def _later(self, code: str, seconds: float, *, approve: bool) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(NotFound):  # somebody was first
            self.decide(code, approve)

    def _value(self, transaction: Transaction) -> str:
        person, digest = transaction.person, transaction.digest
        if Fault.OTHER_CERTIFICATE in self.faults:
            person = self.people.other_than(person)
        if Fault.WRONG_SIGNATURE in self.faults:
            digest = Digest.of(digest).value
        value = person.sign_cms(digest) if Fault.PKCS7 in self.faults else person.sign(digest)
        return base64.b64encode(value).decode()

    def _signatures(self, transaction: Transaction) -> list[dict[str, Any]]:
        if transaction.state != "signed":
            return []
        return [{"doc_id": transaction.document, "signature_value": transaction.value, "timestamp_signature": None}]

    def _expire(self, transaction: Transaction) -> None:
        if transaction.state == "waiting" and self.clock.now() >= transaction.ends_at:
            transaction.state = "expired"

    def _tell(self, name: str, word: str, files: list[dict[str, Any]]) -> None:
        """Unsigned, as the real ones are; whether it arrives is nobody's care."""
        if self.webhook:
            body = {
                "sp_id": self.sp_id, "status_code": 200, "message": word, "transaction_id": name, "signed_files": files,
            }  # fmt: skip
            self._start(self._post(json.dumps(body).encode()))

    async def _post(self, body: bytes) -> None:
        with contextlib.suppress(ServiceError):
            await self.outbound.tell(self.webhook, body, {"content-type": "application/json"}, seconds=5)

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pause(self) -> None:
        if Fault.SLOW in self.faults:
            await asyncio.sleep(self.slow)


def _broken() -> Answer:
    return 500, {"status_code": 500, "message": "INTERNAL_SERVER_ERROR", "data": None}


def _same_serial(told: Any, person: SimulatedPerson) -> bool:
    """Empty means the person's only one; else in any spelling."""
    return not told or plain_serial(str(told)) == plain_serial(person.serial)
