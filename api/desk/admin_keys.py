"""Keys: where each is, what it may do and has done today, and what can be proposed about it. No key is touched from here."""

import base64
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Request, Response

from api.desk.admin import Admin, propose, room_of
from api.desk.pages import DeskRoute, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.web.parts import Parts, WebParts
from core.certificates import Certificate
from core.db import UnitOfWork
from core.directory.records import authorisation_table, person_table
from core.errors import BadInput, NotFound, ServiceError
from core.limits import LIMITS
from core.messages import codes
from core.values import Digest, SignatureAlgorithm
from signer.credentials import credential_table
from signer.decisions.keys import is_keeper, key_of, keys_of, store_name
from signer.decisions.room import both
from signer.keystores.allowed import Imports, Origin, Policies, place, require_movable
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.registry import NOT_FOR_PRODUCTION, OWNED, KeyState, KnownKey, Registry, Work
from signer.keystores.rules import used_today

__all__ = ["router"]

router = APIRouter(prefix="/admin/keys", route_class=DeskRoute, include_in_schema=False)

_STORES: Final = ("transit", "pkcs11")
"""Stores with a policy of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A key as the page shows it."""

    key: KnownKey
    name: str
    """Whose; of a citizen nothing but the id."""
    citizen: bool
    store: str
    sha256: str
    used: int
    ends: dt.datetime | None
    """Of its certificate; None without one."""
    alive: bool
    destroyable: bool
    movable: bool
    """In files, used, and of those that may go on elsewhere as the same key."""
    came: Origin | None
    """Where it was not made in its store."""


# ------------------------------------------------------------------------------------------------------------- reading
async def _officials(uow: UnitOfWork, keys: Sequence[KnownKey], who: DeskPerson) -> dict[str, str]:
    """Names of those whose keys these are; a citizen has none here."""
    owners = {key.owner for key in keys if key.ref.purpose is KeyPurpose.DOCUMENT}
    officials = sa.select(authorisation_table.c.person_id).where(authorisation_table.c.agency_id == who.agency.id)
    t = person_table.c
    query = sa.select(t.id, t.name).where(t.id.in_(owners), t.id.in_(officials))
    return {row.id: row.name for row in await uow.execute(query)}


async def _ends(uow: UnitOfWork, keys: Sequence[KnownKey]) -> dict[KeyRef, dt.datetime]:
    """End of the newest certificate over each key."""
    t = credential_table.c
    query = sa.select(t.key, t.certificate).where(
        t.owner.in_({key.owner for key in keys}), t.certificate.is_not(None)
    ).order_by(t.id)  # fmt: skip
    rows = (await uow.execute(query)).all()
    return {KeyRef.from_json(json.loads(row.key)): Certificate.parse(row.certificate).not_after for row in rows}


async def _rows(uow: UnitOfWork, parts: WebParts, who: DeskPerson, keys: Sequence[KnownKey]) -> list[_Row]:
    if not keys:
        return []
    now = parts.service.clock.now()
    officials, ends = await _officials(uow, keys, who), await _ends(uow, keys)
    used = await used_today(uow, parts.service.clock, [key.ref.name for key in keys])
    origins = await Imports(parts.service.clock).origins(uow)
    return [
        _Row(
            key=key, name=_name(key, who, officials), store=store_name(key.ref.store), sha256=Digest.of(key.ref.spki).hex,
            used=used.get(key.ref.name, 0), ends=ends.get(key.ref), alive=key.state in {KeyState.ACTIVE, KeyState.STOPPED},
            destroyable=key.state is KeyState.DISABLED and key.destroy_after is not None and key.destroy_after <= now,
            citizen=key.ref.purpose is KeyPurpose.DOCUMENT and key.owner not in officials, movable=_movable(key), came=origins.get(place(key.ref)),
        )
        for key in keys
    ]  # fmt: skip


def _movable(key: KnownKey) -> bool:
    try:
        require_movable(key)
    except ServiceError:
        return False
    return True


def _name(key: KnownKey, who: DeskPerson, officials: Mapping[str, str]) -> str:
    if key.ref.purpose not in OWNED:
        code = f"key.service_{key.owner}"
        return both(code) if code in codes() else key.owner
    if key.ref.purpose is KeyPurpose.DOCUMENT:
        return officials.get(key.owner) or both("desk.key_of_citizen", id=key.owner)
    return who.agency.name


async def _list(
    request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    service, room = parts.service, room_of(parts)
    async with service.db.read() as uow:
        own, services = await keys_of(uow, room, who.agency, LIMITS["web.page"])
        keeper = await is_keeper(uow, room, who.agency)
        policies = Policies(service.clock)
        decided = [(store, await policies.decided(uow, service.realm, store)) for store in _STORES] if keeper else []
        shown = {"own": await _rows(uow, parts, who, own), "services": await _rows(uow, parts, who, services)}
    purposes = [each for each in KeyPurpose if keeper or each in OWNED]
    return page(
        request, "admin_keys.html", who=who, title="desk.keys", **shown, keeper=keeper, policies=decided, problem=problem,
        soft=NOT_FOR_PRODUCTION, purposes=purposes, algorithms=list(SignatureAlgorithm), typed=typed, status=400 if problem else 200,
    )  # fmt: skip


async def _one(
    request: Request, parts: WebParts, who: DeskPerson, key_id: str, problem: ServiceError | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    registry = Registry(parts.service.clock)
    async with parts.service.db.read() as uow:
        key = await _found(uow, parts, who, key_id)
        (row,) = await _rows(uow, parts, who, [key])
        history, works = await registry.history(uow, key.id), await registry.works(uow, key.id)
    return page(
        request, "admin_key.html", who=who, title="desk.key", row=row, history=history, problem=problem, typed=typed,
        due=[work for work in works if work.state == "due"], ordered=_ordered(works), status=400 if problem else 200,
        own=key.owner == who.person_id, left=any(each.what == "left" for each in history),
    )  # fmt: skip


def _ordered(works: Sequence[Work]) -> bool:
    return any(work.act == "destroy" for work in works)


async def _found(uow: UnitOfWork, parts: WebParts, who: DeskPerson, key_id: str) -> KnownKey:
    """Raises ``web.no_such_thing`` for keys that others decide about."""
    try:
        return await key_of(uow, room_of(parts), who.agency, key_id)
    except NotFound as error:
        raise NotFound("web.no_such_thing") from error


@router.get("")
async def keys(request: Request, parts: Parts, who: Admin) -> Response:
    """All that these administrators decide about."""
    return await _list(request, parts, who)


@router.get("/{key_id}")
async def key(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """One key: what it is, what became of it, what can be proposed."""
    return await _one(request, parts, who, key_id)


# ----------------------------------------------------------------------------------------------------------- proposing
async def _about(
    request: Request, parts: WebParts, who: DeskPerson, key_id: str, kind: str, payload: Mapping[str, Any]
) -> Response:
    async with parts.service.db.read() as uow:
        await _found(uow, parts, who, key_id)
    try:
        return await propose(parts, who, kind, {"key": key_id, **payload})
    except ServiceError as error:
        return await _one(request, parts, who, key_id, error, await form_of(request))


@router.post("/{key_id}/disable")
async def disable(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose its end."""
    form = await form_of(request)
    payload = {"why": form.get("why", ""), "revoke": form.get("revoke", "")}
    return await _about(request, parts, who, key_id, "key.disable", payload)


@router.post("/{key_id}/resume")
async def resume(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose that a stopped key goes on."""
    return await _about(request, parts, who, key_id, "key.resume", {})


@router.post("/{key_id}/rule")
async def rule(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose other limits; three empty fields are the usual ones."""
    form = await form_of(request)
    payload = {name: _number(form.get(name, "")) for name in ("per_minute", "per_day", "at_once")}
    return await _about(request, parts, who, key_id, "key.rule", payload)


@router.post("/{key_id}/move")
async def move(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose that the same key goes on in OpenBao or Vault."""
    return await _about(request, parts, who, key_id, "key.move", {})


@router.post("/{key_id}/destroy")
async def destroy(request: Request, key_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose its destruction."""
    return await _about(request, parts, who, key_id, "key.destroy", {})


def _number(text: str) -> int:
    """What is no number becomes one that no rule allows."""
    if not text:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1


@router.post("/import")
async def allow_import(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose that one key may come from elsewhere."""
    form = await form_of(request)
    try:
        payload = {
            "purpose": form.get("purpose", ""), "owner": form.get("owner", ""), "algorithm": form.get("algorithm", ""),
            "spki_sha256": form.get("spki_sha256", "").lower(), "certificate": _der(form.get("certificate", "")),
        }  # fmt: skip
        return await propose(parts, who, "key.import", payload)
    except ServiceError as error:
        return await _list(request, parts, who, error, form)


def _der(pem: str) -> str:
    """Base64 of what stands in PEM; empty for nothing. Raises ``cert.unreadable``."""
    if not pem:
        return ""
    try:
        der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except ValueError as error:
        raise BadInput("cert.unreadable") from error
    return base64.b64encode(der).decode()


@router.post("/policy")
async def policy(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose a store's policy by its digest."""
    form = await form_of(request)
    try:
        payload = {"store": form.get("store", ""), "sha256": form.get("sha256", "").lower()}
        return await propose(parts, who, "store.policy", payload)
    except ServiceError as error:
        return await _list(request, parts, who, error, form)
