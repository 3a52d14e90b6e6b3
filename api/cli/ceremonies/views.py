"""What is only looked at: policies as they are generated, keys as the tables have them."""

import datetime as dt
import json
from typing import Any

import sqlalchemy as sa

from api import bootstrap
from api.roles import ProcessRole
from core.certificates import Certificate
from core.errors import BadInput
from core.settings import Settings
from core.values import Digest
from signer.credentials import credential_table
from signer.keystores.allowed import Imports, Origin, Place, place
from signer.keystores.model import KeyRef
from signer.keystores.policies import Identity, Policy, agency_mount, bundle_sha256, policy_for
from signer.keystores.records import key_table
from signer.keystores.transit.naming import mounts_of

__all__ = ["listed", "places_of", "policies"]


def policies(settings: Settings, store: str, identity: str, mounts: str, agency: str) -> tuple[list[Policy], str]:
    """The policies asked for, and the digest of the whole set.

    Raises ``keys.no_policies``, ``keys.unknown_identity``, ``key.bad_mounts``.
    """
    if store != "transit":
        raise BadInput("keys.no_policies", store=store)
    if identity and identity not in set(Identity):
        raise BadInput("keys.unknown_identity", identity=identity)
    places = places_of(settings, mounts, agency)
    made = [policy_for(each, places, agency) for each in Identity]
    return [each for each in made if identity in {"", each.identity}], bundle_sha256(made)


def places_of(settings: Settings, mounts: str, agency: str) -> tuple[str, ...]:
    """The mounts named, else the agency's own, else those of the settings. Raises ``key.bad_mounts``."""
    if mounts:
        return mounts_of(mounts)
    return (agency_mount(agency),) if agency else mounts_of(settings.transit_mounts)


async def listed(settings: Settings, every: bool) -> list[dict[str, Any]]:
    """Credentials with their keys, oldest first; from the tables, no store is opened."""
    async with bootstrap.open_service(settings, ProcessRole.WEB) as service:
        async with service.db.read() as uow:
            t, k = credential_table.c, key_table.c
            query = sa.select(credential_table).order_by(t.id)
            rows = (await uow.execute(query if every else query.where(t.state == "active"))).all()
            known = {
                (row.store, row.place, row.name, row.version): (row.id, row.state)
                for row in await uow.execute(sa.select(k.id, k.state, k.store, k.place, k.name, k.version))
            }
            origins = await Imports(service.clock).origins(uow)
            codes = {each.id: each.code for each in await service.directory.agencies(uow)}
        return [_line(row, codes, known, origins, service.clock.now()) for row in rows]


def _line(
    row: Any, codes: dict[str, str], known: dict[Place, tuple[str, str]], origins: dict[Place, Origin], now: dt.datetime
) -> dict[str, Any]:
    ref = KeyRef.from_json(json.loads(row.key))
    key_id, state = known.get(place(ref), ("", "active"))
    came = origins.get(place(ref))
    waits = row.active_from is not None and row.active_from > now
    if row.state != "active":
        state = row.state
    elif waits and state == "active":
        state = "waits"
    return {
        "id": key_id, "credential": row.id, "owner": codes.get(row.owner, row.owner), "purpose": row.purpose, "store": ref.store,
        "place": ref.place, "key": ref.name, "version": ref.version, "algorithm": ref.algorithm.value,
        "spki_sha256": Digest.of(ref.spki).hex, "state": state, "waits": waits, "active_from": row.active_from,
        "came": "" if came is None else came.said, "until": None if row.certificate is None else Certificate.parse(row.certificate).not_after,
    }  # fmt: skip
