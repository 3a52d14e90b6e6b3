"""What ceremonies share. ``--yes`` asks nothing, and only in realm training: in production a person sits in front of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import typer

from api import bootstrap
from api.bootstrap import Service
from api.cli.cards import own_login, role_of
from api.cli.show import err, out, print_json
from api.roles import ProcessRole
from core.clock import VIETNAM
from core.errors import BadInput, Refused, ServiceError, Unavailable
from core.logs import logger
from core.messages import sentence
from core.settings import Settings
from core.values import Realm
from core.vault import AppRole, TokenFile, Vault, VaultConfig
from signer.keyceremony.operator import Operator
from signer.keyceremony.paper import ProtocolDesk, compose, keep
from signer.keyceremony.protocol import Both, Fact, Protocol
from signer.keystores.policies import Identity
from signer.keystores.prepared import AUTH

__all__ = ["Act", "Done", "end", "secret"]


@dataclass(slots=True, kw_only=True)
class Done:
    """What a command says at its end."""

    good: bool
    protocol: str = ""
    """Path of the PDF; empty where none was made."""
    sha256: str = ""
    signed: bool = False
    code: str = ""
    said: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def end(done: Done, as_json: bool) -> None:
    """What was done, where its protocol lies; 1 where something failed."""
    if as_json:
        print_json({
            "good": done.good, "protocol": done.protocol, "sha256": done.sha256, "signed": done.signed, "error": done.code or None,
            "facts": [{"what": name, "value": value} for name, value in done.facts],
        })  # fmt: skip
    else:
        for name, value in done.facts:
            out.print(f"  {name}: {value}", markup=False, soft_wrap=True)
        for line in done.next:
            out.print(f"  → {line}", markup=False, soft_wrap=True)
        if done.code:
            out.print(f"✗ {done.said}", markup=False)
        if done.protocol:
            mark = "" if done.signed else " (CHƯA KÝ / UNSIGNED)"
            out.print(
                f"biên bản / protocol: {done.protocol}{mark}\n  SHA-256 {done.sha256}", markup=False, soft_wrap=True
            )
    if not done.good:
        raise typer.Exit(1)


def secret(text: str) -> str:
    """Typed without being shown, or piped; never an argument: those stand in the shell's history and lists of processes."""
    import sys  # noqa: PLC0415

    return str(typer.prompt(text, hide_input=sys.stdin.isatty(), err=True, default="", show_default=False)).strip()


@dataclass(slots=True, kw_only=True)
class Act:
    """One ceremony."""

    settings: Settings
    out: Path | None
    yes: bool
    cards: Path | None = None
    """Folder of the secret ids with which this ceremony logs in."""
    kind: ClassVar[str]
    must_sign: ClassVar[bool] = True
    """Whether a protocol that nobody could sign is a failure."""
    next: list[str] = field(default_factory=list)

    async def attend(self, protocol: Protocol, realm: Realm | None) -> None:
        """Who is there. Raises ``keys.yes_needs_training``, ``keys.nobody_present``."""
        if self.yes:
            if realm is not Realm.TRAINING:
                raise Refused("keys.yes_needs_training")
            protocol.present = ("tập huấn, không có người chứng kiến / training, unattended",)
            return
        asked = "Họ tên những người có mặt, cách nhau dấu chấm phẩy / names of those present, separated by semicolons"
        typed = await asyncio.to_thread(typer.prompt, asked, err=True, default="", show_default=False)
        protocol.present = tuple(name.strip() for name in str(typed).split(";") if name.strip())
        if not protocol.present:
            raise BadInput("keys.nobody_present")

    @staticmethod
    def show(what: Both, facts: Sequence[Fact] = ()) -> None:
        """To those who sit there."""
        err.print(f"\n{what[0]}\n{what[1]}", markup=False)
        for (vi, en), value in facts:
            err.print(f"  {vi} / {en}: {value}", markup=False, soft_wrap=True)

    async def confirm(self, what: Both, facts: Sequence[Fact] = ()) -> None:
        """Shown and agreed to. Raises ``keys.not_confirmed``."""
        if self.yes:
            return
        self.show(what, facts)
        if not await asyncio.to_thread(typer.confirm, "Đồng ý / agreed?", err=True):
            raise Refused("keys.not_confirmed")

    # ------------------------------------------------------------------------------------------------------ the server
    def config(self) -> VaultConfig:
        """Of the configured server; logging in is somebody else's affair. Raises ``vault.not_configured``, ``vault.not_https``."""
        s = self.settings
        if not s.vault_url:
            raise BadInput("vault.not_configured", what="vault_url")
        return VaultConfig(
            url=s.vault_url.rstrip("/"), namespace=s.vault_namespace.strip("/"), ca_file=s.vault_ca_file,
            login=TokenFile(path=Path()),
        )  # fmt: skip

    async def operator(self, token_file: Path | None) -> Operator:
        """A session with a person's token. Raises ``cli.no_such_file``, ``keys.no_token``."""
        config = self.config()
        if token_file is None:
            token = await asyncio.to_thread(secret, "Thẻ của người vận hành / the operator's token")
        else:
            try:
                token = token_file.read_text().strip()
            except OSError as error:
                raise BadInput("cli.no_such_file", file=str(token_file)) from error
        if not token:
            raise BadInput("keys.no_token")
        return Operator(config, token)

    @asynccontextmanager
    async def handed(self, identity: Identity, role_id: str, file: Path) -> AsyncIterator[Vault]:
        """A session of the identity that was handed out for one act, however the signer itself logs in.

        Raises ``vault.*``, ``keys.no_card``, ``keys.other_card``.
        """
        made_at = f"auth/{AUTH}/role/{role_of(file, identity)}/secret-id"
        login = AppRole(role_id=role_id, secret_id_file=file, creation_path=made_at, mount=AUTH)
        vault = Vault(replace(self.config(), login=login))
        try:
            await vault.start()
            yield vault
        finally:
            await vault.close()

    # ------------------------------------------------------------------------------------------------------- the paper
    @asynccontextmanager
    async def signing(self, settings: Settings, cards: Path | None) -> AsyncIterator[Service | None]:
        """A signer for the paper; None where none can be opened now."""
        held, service = AsyncExitStack(), None
        try:
            opened = bootstrap.open_service(own_login(settings, cards), ProcessRole.SIGNER)
            service = await held.enter_async_context(opened)
        except ServiceError as error:
            logger().warning("keys.protocol_unsigned", code=error.code)
        try:
            yield service
        finally:
            try:
                await held.aclose()
            except ServiceError as error:  # what was done must be told all the same
                logger().error("keys.signer_not_closed", code=error.code)

    async def finish(
        self, protocol: Protocol, service: Service | None, realm: Realm | None, error: ServiceError | None = None
    ) -> Done:
        """Compose, sign where there is a key for it, keep. A ceremony that failed leaves its protocol too."""
        done = Done(good=error is None and protocol.good, next=self.next)
        if error is not None:
            self._say(done, error)
        data = None if service is None else await self._signed(protocol, service)
        done.signed = data is not None
        if self.must_sign and not done.signed and realm is not None:  # before there is a realm nothing can sign
            done.good = False
            self._say(done, Unavailable("keys.unsigned"))
        if data is None:
            s = self.settings
            data = await asyncio.to_thread(
                compose, protocol, system=s.system_name, host=s.host, realm=realm or Realm.PRODUCTION, signed=False
            )
        path = self.out or self._path(protocol)
        done.sha256 = keep(path, data)
        done.protocol = str(path)
        done.facts = [(f"{vi} / {en}", value) for step in protocol.steps for (vi, en), value in step.facts]
        done.facts += [
            (f"! {step.what[0]}", f"{sentence(step.code)} / {sentence(step.code, 'en')}")
            for step in protocol.steps if step.code and (error is None or step.code != error.code)
        ]  # fmt: skip
        return done

    @staticmethod
    def _say(done: Done, error: ServiceError) -> None:
        """The first that went wrong is what is said."""
        if not done.code:
            done.code, done.said = error.code, f"{error.say('vi')} / {error.say('en')} ({error.code})"

    @staticmethod
    async def _signed(protocol: Protocol, service: Service) -> bytes | None:
        try:
            return await ProtocolDesk(sheets=service.parts().sheets).issue(protocol)
        except ServiceError as error:  # a store that is away must not take the protocol with it
            logger().warning("keys.protocol_unsigned", code=error.code)
            return None

    def _path(self, protocol: Protocol) -> Path:
        day = f"{protocol.started.astimezone(VIETNAM):%Y%m%d-%H%M%S}"
        return self.settings.home / "protocols" / f"keys-{protocol.kind}-{day}-{protocol.id[-4:]}.pdf"
