"""Which agencies a client speaks for, changed inside another's transaction: what decisions need of clients."""

import sqlalchemy as sa

from api.clients.store import client_table
from core.db import UnitOfWork
from core.errors import NotFound

__all__ = ["AgencyAccess"]


class AgencyAccess:
    """Satisfies ``signer.decisions.room.ClientAccess``. Keys are handed out by the operator's command alone."""

    async def named(self, uow: UnitOfWork, client_id: str) -> tuple[str, frozenset[str]]:
        """Name and agencies of a client that has not ended. Raises ``client.no_such_client``."""
        t = client_table.c
        row = (await uow.execute(sa.select(t.name, t.agencies, t.ended_at).where(t.id == client_id))).first()
        if row is None or row.ended_at is not None:
            raise NotFound("client.no_such_client", client=client_id)
        return row.name, frozenset(row.agencies)

    async def grant(self, uow: UnitOfWork, client_id: str, agency_id: str) -> None:
        """Also for this agency. Raises ``client.no_such_client``."""
        await self._set(uow, client_id, await self._locked(uow, client_id) | {agency_id})

    async def withdraw(self, uow: UnitOfWork, client_id: str, agency_id: str) -> None:
        """No longer for this agency. Raises ``client.no_such_client``."""
        await self._set(uow, client_id, await self._locked(uow, client_id) - {agency_id})

    @staticmethod
    async def _locked(uow: UnitOfWork, client_id: str) -> frozenset[str]:
        """Two agencies that decide on one client at once go one after the other."""
        t = client_table.c
        mine = sa.select(t.agencies).where(t.id == client_id, t.ended_at.is_(None)).with_for_update()
        found = (await uow.execute(mine)).scalar_one_or_none()
        if found is None:
            raise NotFound("client.no_such_client", client=client_id)
        return frozenset(found)

    @staticmethod
    async def _set(uow: UnitOfWork, client_id: str, agencies: frozenset[str]) -> None:
        await uow.execute(client_table.update().where(client_table.c.id == client_id).values(agencies=sorted(agencies)))
