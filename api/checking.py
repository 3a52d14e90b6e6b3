"""Wiring of a check: with a home's register when there is one, with given anchors, never with keys."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api import bootstrap
from api.roles import ProcessRole
from api.signing import stamping_anchors
from core.clock import Clock, SystemClock
from core.errors import BadInput
from core.sandbox import Sandbox
from core.settings import Settings
from core.values import Realm
from signer.copies.publication import KEYS
from verification import pictures
from verification.engine import codes
from verification.facts import CopyRegister
from verification.policy import Policy, TrustAnchor
from verification.report import Report
from verification.seals import SealLists, read_lists
from verification.verify import verify

__all__ = ["Checker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Checks bytes."""

    clock: Clock
    sandbox: Sandbox
    anchors: tuple[TrustAnchor, ...]
    register: CopyRegister | None
    lists: SealLists | None
    host: str

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, pems: list[bytes], lists: Path | None = None
    ) -> AsyncIterator[Self]:  # fmt: skip
        """Given anchors judge as production unless they name themselves training; a home adds its own and its register."""
        anchors = [_anchor(pem) for pem in pems]
        async with AsyncExitStack() as stack:
            register: CopyRegister | None = None
            clock: Clock = SystemClock()
            if bootstrap.is_home(settings.home) or settings.database_url:
                service = await stack.enter_async_context(bootstrap.open_service(settings, ProcessRole.WEB))
                anchors += _own(service)
                register, clock, sandbox = service.facts, service.clock, service.sandbox
            else:
                sandbox = await stack.enter_async_context(bootstrap.make_sandbox())
            yield cls(
                clock=clock, sandbox=sandbox, anchors=tuple(anchors), register=register, host=settings.host,
                lists=_lists(lists, tuple(anchors), clock.now()),
            )  # fmt: skip

    @classmethod
    def of(cls, service: bootstrap.Service) -> Self:
        """With an open home's register and anchors alone."""
        return cls(
            clock=service.clock, sandbox=service.sandbox, anchors=_own(service), register=service.facts, lists=None,
            host=service.settings.host,
        )  # fmt: skip

    async def check(self, data: bytes) -> Report:
        """A PDF, or a picture that shows a QR seal."""
        at = self.clock.now()
        if not data.lstrip()[:5].startswith(b"%PDF"):
            return await pictures.check_picture(
                data, at=at, host=self.host, register=self.register, lists=self.lists, read=self._texts
            )
        policy = Policy(anchors=self.anchors, at=at)
        return await verify(
            data, at=at, policy=policy, register=self.register, run=self.sandbox.run, host=self.host
        )  # fmt: skip

    async def _texts(self, data: bytes) -> list[str]:
        found, _ = await self.sandbox.run(codes.in_picture, data, {})
        return [str(text) for text in found["texts"]]


def _own(service: bootstrap.Service) -> tuple[TrustAnchor, ...]:
    root = TrustAnchor(certificate=service.root, realm=service.realm)
    return (root, *stamping_anchors(service.settings, service.realm))


def _lists(folder: Path | None, anchors: tuple[TrustAnchor, ...], at: dt.datetime) -> SealLists | None:
    """The public lists as ``dauso lists publish`` writes them. Raises ``qr.*``."""
    if folder is None:
        return None
    keys = folder / f"{KEYS}.json"
    try:
        statuses = [file.read_bytes() for file in sorted(folder.glob("qr-status-*.cose"))]
        return read_lists(keys.read_bytes(), keys.with_suffix(".p7s").read_bytes(), statuses, anchors, at)
    except OSError as error:
        raise BadInput("qr.lists_missing", folder=folder.name) from error


def _anchor(pem: bytes) -> TrustAnchor:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadInput("verify.anchor_unreadable") from error
    training = "TRAINING" in certificate.subject.rfc4514_string()
    realm = Realm.TRAINING if training else Realm.PRODUCTION
    return TrustAnchor(certificate=certificate.public_bytes(Encoding.DER), realm=realm)
