"""Is the process alive, may it be sent work, and its numbers."""

from fastapi import APIRouter, Response

from api.web.access import ANYONE, OPERATOR
from api.web.parts import Parts

__all__ = ["operator", "router"]

router = APIRouter(include_in_schema=False)
operator = APIRouter(include_in_schema=False)


@router.get("/healthz", dependencies=[ANYONE])
async def healthz() -> Response:
    """The event loop turns."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", dependencies=[ANYONE])
async def readyz(parts: Parts) -> Response:
    """The database answers. The signer may be away: papers are taken in and checks answered meanwhile."""
    async with parts.service.db.read() as uow:
        await uow.exec_driver_sql("SELECT 1")
    return Response("ready\n", media_type="text/plain")


@operator.get("/metrics", dependencies=[OPERATOR])
async def metrics(parts: Parts) -> Response:
    """Prometheus: this process's counters, and what stands in the database now."""
    await parts.metrics.look(parts.service)
    return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4")
