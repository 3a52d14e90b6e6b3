"""Gathering a request's evidence into one value, as ``signer/requests/evidence.py`` reads it again."""

import base64
from typing import Any

import sqlalchemy as sa

from audit.events import LeafType
from core.certificates import Certificate
from core.db import UnitOfWork
from core.errors import Broken, Refused, Unavailable
from signer.activation.records import activation_table
from signer.credentials import Credential
from signer.orders import SigningOrder
from signer.requests import store
from signer.requests.evidence import FORMAT, signature_of
from signer.requests.history import History, time_of
from signer.requests.model import RequestStep, RequestView
from signer.requests.parts import Parts, event_id
from signer.requests.records import change_table

__all__ = ["evidence"]


async def evidence(parts: Parts, request_id: str) -> dict[str, Any]:
    """JSON members only. Raises ``request.no_evidence`` before anybody has signed, ``request.no_such_request``."""
    async with parts.signing.db.read() as uow:
        view = await store.get(uow, request_id)
        c = change_table.c
        changes = (await uow.execute(sa.select(change_table).where(c.request_id == view.id).order_by(c.version))).all()
    signed = [step for step in view.wanted if step.state == "signed"]
    if not signed:
        raise Refused("request.no_evidence", request=request_id)
    log = _Leaves(parts)
    told = [await _change(view, row, log) for row in changes]
    created = told[0]["said"]
    return {
        "format": FORMAT, "realm": view.realm.value,
        "agency": {"code": created["agency_code"], "name": created["agency_name"]},
        "request": _request(view, told), "salt": _b64(view.salt), "documents": _documents(view),
        "steps": [await _step(parts, view, step, log) for step in sorted(signed, key=lambda s: str(s.signed_at))],
        "changes": told, "log": parts.signing.log.vkey,
    }  # fmt: skip


async def _change(view: RequestView, row: sa.Row[Any], log: "_Leaves") -> dict[str, Any]:
    leaf = await log.of(event_id(view.id, row.version, LeafType(row.type)))
    return {"version": row.version, "type": row.type, "at": time_of(leaf), "said": row.said, "log": leaf}


def _request(view: RequestView, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Every time is the log's."""
    history = History.of(changes)
    return {
        "id": view.id, "title": view.title, "reason": view.reason, "client": view.client_id,
        "client_name": view.client_name, "created_at": history.created_at, "deadline": history.deadline,
        "state": view.state, "settled_at": history.settled_at,
    }  # fmt: skip


def _documents(view: RequestView) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id, "title": each.title, "kind": each.kind, "pages": each.pages, "sha256": each.original,
            "digest": None if each.digest is None else each.digest.hex(), "algorithm": each.algorithm,
            "signed_sha256": each.released,
        }
        for each in view.documents
    ]  # fmt: skip


async def _step(parts: Parts, view: RequestView, step: RequestStep, log: "_Leaves") -> dict[str, Any]:
    async with parts.signing.db.read() as uow:
        orders = [await parts.signing.orders.get(uow, each) for each in step.orders]
        credential = await parts.signing.credentials.get(uow, orders[0].credential_id)
        activation = await _activation(uow, step)
        person = await parts.directory.person(uow, step.person_id)
    assert credential.certificate is not None
    own = step.kind != "seal"
    name = Certificate.parse(credential.certificate).common_name if own else person.name
    made = [
        await _order(parts, credential, order, document.id, log)
        for order, document in zip(orders, view.documents, strict=True)
    ]
    return {
        "id": step.id, "position": step.position, "kind": step.kind, "provider": step.provider,
        "person": {"id": person.id, "name": name}, "code": step.code,
        "approved_at": None if step.approved_at is None else step.approved_at.isoformat(),
        "signed_at": max(time_of(order["log"]) for order in made), "activation": activation,
        "certificate": _b64(credential.certificate), "chain": [_b64(each) for each in credential.chain],
        "orders": made,
    }  # fmt: skip


async def _activation(uow: UnitOfWork, step: RequestStep) -> dict[str, Any] | None:
    """The approval with all that verifies it again; None where a provider asked the person."""
    if step.activation_tx is None:
        return None
    t = activation_table.c
    found = (await uow.execute(sa.select(t.evidence).where(t.tx == step.activation_tx))).scalar_one_or_none()
    if found is None:
        raise Broken("request.self_check", detail="approval")
    # nothing that was signed speaks of these: the public key says whose answer it is
    kept = {name: value for name, value in found.items() if name != "kind"}
    return {**kept, "assertion": {**kept["assertion"], "credential_id": ""}}


async def _order(
    parts: Parts, credential: Credential, order: SigningOrder, document_id: str, log: "_Leaves"
) -> dict[str, Any]:
    assert order.signed_document is not None
    data, prepared = await parts.signing.documents.get(order.signed_document), order.prepared
    detached = prepared.get("format") == "cades"
    if not detached:
        _, start, end, _ = prepared["byte_range"]
        data = bytes.fromhex(data[start + 1 : end - 1].decode("ascii"))
    more = {} if detached else {"byte_range": prepared["byte_range"]}
    return {
        "id": order.id, "document": document_id, "format": "cades" if detached else "pades", **more,
        "algorithm": credential.key.algorithm.value, "digest": prepared["digest"], "to_sign": prepared["to_sign"],
        "message_digest": prepared["content"] if detached else prepared["message_digest"],
        "signed_attributes": _b64(bytes.fromhex(prepared["signed_attributes"])), "signature": _b64(signature_of(data)),
        "salt": _b64(order.salt), "log": await log.of(f"{order.id}.{LeafType.SIGNATURE_MADE.value}"),
    }  # fmt: skip


class _Leaves:
    """Leaves with their receipts; what is pending is published first, once."""

    def __init__(self, parts: Parts) -> None:
        self._log = parts.signing.log

    async def of(self, event: str) -> dict[str, str]:
        """Base64 of the leaf, and its ``tlog-proof``."""
        try:
            receipt = await self._log.receipt(event)
        except Unavailable:
            await self._log.sequence()
            receipt = await self._log.receipt(event)
        index = int(receipt.split(b"\n", 2)[1].removeprefix(b"index "))
        ((_, leaf),) = await self._log.entries(index, index + 1)
        return {"leaf": _b64(leaf), "receipt": receipt.decode()}


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
