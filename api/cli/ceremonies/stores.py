"""Ceremonies about whole stores: prepare one, and take stock of all with witnesses."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from api import bootstrap
from api.bootstrap import Service
from api.cli.cards import own_login
from api.cli.ceremonies.base import Act, Done
from api.cli.ceremonies.views import places_of
from api.doctor_keys import KeyDoctor, realm_of
from api.keystores import open_stores, spends_secret_ids
from api.roles import ProcessRole
from core.clock import SystemClock, timestamp_text
from core.db import Database
from core.errors import BadInput, NotFound, ServiceError
from core.values import Digest, Realm
from signer.credentials import Credential
from signer.keyceremony.preparing import Handed, Preparation, look_over
from signer.keyceremony.protocol import Outcome, Protocol
from signer.keystores.allowed import Policies
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import SHORT_LIVED, Identity, policy_for

__all__ = ["Ceremony", "Init"]

_HOUSE: Final = (
    KeyPurpose.CA, KeyPurpose.LOG, KeyPurpose.TSA, KeyPurpose.OCSP, KeyPurpose.LIST, KeyPurpose.REPORT, KeyPurpose.SEAL, KeyPurpose.QR,
)  # fmt: skip
"""Keys that are counted one by one; people's are too many for a paper, and nobody else's business."""


@dataclass(slots=True, kw_only=True)
class Init(Act):
    """Before a home exists, and again whenever something of the store should be compared or renewed."""

    kind: ClassVar[str] = "init"
    store: str
    mounts: str
    agency: str
    hand_over: str
    folder: Path | None
    token_file: Path | None
    cidrs: tuple[str, ...]

    async def run(self) -> Done:
        """Raises what stops it before its first step; what fails later stands in the protocol."""
        with tempfile.TemporaryDirectory(prefix="dauso-") as own:
            return await self._run(Path(own))

    async def _run(self, own: Path) -> Done:
        """``own``: a folder for what this ceremony itself logs in with."""
        store, realm = self.store or self.settings.keys, None
        if store not in {"transit", "pkcs11", "software"}:
            raise BadInput("keys.no_policies", store=store)
        if bootstrap.is_home(self.settings.home):
            realm = realm_of(self.settings)
        protocol = Protocol(clock=SystemClock(), kind=self.kind, store=store)
        await self.attend(protocol, realm)
        failed: ServiceError | None = None
        try:
            await (self._transit(protocol, realm, own) if store == "transit" else self._other(store, protocol))
        except ServiceError as error:
            if not protocol.steps:
                raise
            failed = error
        if realm is None:  # a store that is only being prepared cannot sign yet
            return await self.finish(protocol, None, realm, failed)
        settings = self.settings
        if settings.keys == "software":  # its keys may be named in settings, and not made yet
            settings = settings.model_copy(update={"vault_url": ""})
        async with self.signing(settings, self.cards or own) as service:
            return await self.finish(protocol, service, realm, failed)

    async def _transit(self, protocol: Protocol, realm: Realm | None, own: Path) -> None:
        identities = self._identities()
        places = places_of(self.settings, self.mounts, self.agency)
        await self.confirm(
            ("Chuẩn bị máy chủ này", "Prepare this server"),
            [(("Địa chỉ", "Address"), self.settings.vault_url), (("Kho con", "Mounts"), ", ".join(places))],
        )
        async with await self.operator(self.token_file) as operator:
            work = Preparation(
                operator=operator, protocol=protocol, mounts=places, agency=self.agency,
                decided=await self._decided(realm), cidrs=self.cidrs,
            )  # fmt: skip
            handed = await work.run(self._folder, identities)
            if realm is not None and self.cards is None and spends_secret_ids(self.settings):
                await work.lend(own, {self.settings.vault_role, self.settings.vault_enroller_role})
        self.next += self._next(handed, is_new=realm is None)

    @property
    def _folder(self) -> Path:
        """Where what is handed over is put."""
        return self.folder or self.settings.home / "handed"

    def _identities(self) -> list[Identity]:
        """Raises ``keys.unknown_identity``."""
        wanted = [each.strip() for each in self.hand_over.split(",") if each.strip()]
        for each in wanted:
            if each not in set(Identity) - {Identity.WEB}:
                raise BadInput("keys.unknown_identity", identity=each)
        return [Identity(each) for each in wanted]

    async def _decided(self, realm: Realm | None) -> str:
        """What two administrators decided for the policies; nothing where there is no home yet."""
        if realm is None:
            return ""
        async with Database(self.settings.database) as db, db.read() as uow:
            return await Policies(SystemClock()).decided(uow, realm, "transit")

    def _next(self, handed: list[Handed], *, is_new: bool) -> list[str]:
        lines = ["DAUSO_KEYS=transit", f"DAUSO_VAULT_URL={self.settings.vault_url}"]
        for each in handed:
            once = f"{each.secret_id_file}  (một lần, đến / once, until {timestamp_text(each.until)})"
            if each.identity in SHORT_LIVED:  # no setting of a process: what a ceremony is given
                lines.append(f"{each.role}: --role-id {each.role_id} --secret-id-file {once}")
                continue
            prefix = "" if each.identity is Identity.SIGNER else f"{each.identity.upper()}_"
            lines += [
                f"DAUSO_VAULT_{prefix}ROLE={each.role}", f"DAUSO_VAULT_{prefix}ROLE_ID={each.role_id}",
                f"DAUSO_VAULT_{prefix}SECRET_ID_FILE={once}",
            ]  # fmt: skip
        lines.append("thu hồi thẻ của người vận hành / revoke the operator's token")
        if is_new and spends_secret_ids(self.settings) and any(each.identity is Identity.SIGNER for each in handed):
            lines.append(
                f"dauso --cards {self._folder} init  (dùng hết các thẻ này; xin thẻ mới cho bộ ký"
                " / uses these up: hand over new ones for the signer)"
            )
        elif is_new:
            lines.append("dauso init")
        return [*lines, "dauso doctor keys"]

    async def _other(self, store: str, protocol: Protocol) -> None:
        """A token or a folder: nothing is made, it is only asked."""
        clock = SystemClock()
        settings = self.settings.model_copy(update={"keys": store, "vault_url": ""})  # no other is opened
        with protocol.step(("Kho trả lời", "The store answers")) as facts:
            async with Database(settings.database) as db, open_stores(settings, clock, db) as keys:
                health = await keys.default.health()
                facts.append((("Trạng thái", "State"), f"{health.state}, {health.detail}"))
                protocol.product = health.detail
                if health.state != "open":
                    raise NotFound("keys.store_away")
                software = keys.default.not_for_production
        if software:
            protocol.add(("Kho khóa phần mềm", "A software store"), Outcome.WARNING, code="key.not_for_production")
        self.next += [f"DAUSO_KEYS={store}", "dauso init · dauso doctor keys"]


@dataclass(slots=True, kw_only=True)
class Ceremony(Act):
    """Takes stock of everything: read from the server, shown, confirmed by those present."""

    kind: ClassVar[str] = "ceremony"
    agency: str
    token_file: Path | None
    cidrs: tuple[str, ...]

    async def run(self) -> Done:
        """Raises what opening a home raises, ``keys.needs_cards``, ``keys.no_card``."""
        settings = own_login(self.settings, self.cards)
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            protocol = Protocol(clock=service.clock, kind=self.kind, store=service.parts().store.name)
            protocol.product = (await service.parts().store.default.health()).detail
            await self.attend(protocol, service.realm)
            try:
                await self._steps(service, protocol)
            except ServiceError as error:
                if not protocol.steps:
                    raise
                return await self.finish(protocol, service, service.realm, error)
            return await self.finish(protocol, service, service.realm)

    async def _steps(self, service: Service, protocol: Protocol) -> None:
        if any(each.name == "transit" for each in service.parts().store.all()):
            await self._server(service, protocol)
        await self._checks(service, protocol)
        for purpose in _HOUSE:
            await self._keys(service, protocol, purpose)

    async def _server(self, service: Service, protocol: Protocol) -> None:
        """Policies, roles and audit devices, with the rights of a person: the service's own may not see them."""
        places = places_of(self.settings, "", self.agency)
        async with await self.operator(self.token_file) as operator:
            made = [policy_for(each, places, self.agency) for each in Identity]
            await look_over(operator, protocol, made, self.cidrs)
        await self.confirm(protocol.steps[-1].what, protocol.steps[-1].facts)

    async def _checks(self, service: Service, protocol: Protocol) -> None:
        """Everything that ``dauso doctor keys`` looks at."""
        doctor = KeyDoctor(
            settings=service.settings, realm=service.realm, clock=service.clock, db=service.db, keys=service.parts().store
        )  # fmt: skip
        rows = await doctor.examine()
        bad = [name for name, good, _ in rows if not good]
        facts = [((name, "ok" if good else "NOT WELL"), detail) for name, good, detail in rows]
        what = ("Kiểm tra kho và khóa", "Stores and keys examined")
        await self.confirm(what, facts)
        protocol.add(what, Outcome.FAILED if bad else Outcome.DONE, *facts, code="keys.not_well" if bad else "")

    async def _keys(self, service: Service, protocol: Protocol, purpose: KeyPurpose) -> None:
        async with service.db.read() as uow:
            found = [each for each, active in await service.credentials.all(uow, purpose) if active]
            codes = {each.id: each.code for each in await service.directory.agencies(uow)}
        if not found:
            return
        facts = [_counted(each, codes) for each in found]
        what = (f"Khóa {purpose.value}: {len(found)}", f"Keys of purpose {purpose.value}: {len(found)}")
        await self.confirm(what, facts)
        protocol.add(what, Outcome.DONE, *facts)


def _counted(credential: Credential, codes: dict[str, str]) -> tuple[tuple[str, str], str]:
    owner = codes.get(credential.owner, credential.owner)
    return (owner, f"{credential.key.store} {credential.key.name[-18:]}"), Digest.of(credential.key.spki).hex
