"""``Idempotency-Key``: a POST that is sent again does its work once and is answered alike.

Rules (per client, seven days):

* the first request writes the key's row with a new id for what it will make, then works, then keeps its answer sealed;
* while the first one runs, others hear 409; a runner that died loses the row after a minute, and the next one works
  under the *same* id, so a row made before the crash is found, not made twice;
* the same key with another body hears 422. A file sent again inside multipart is the same body whatever its boundary;
* answers of our own failing (5xx) and of pacing are not kept: trying again must help, and works under the same id.
"""

import asyncio
import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import sqlalchemy as sa
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile
from starlette.responses import Response

from api.clients.model import Caller
from api.web.access import access_of
from api.web.parts import WebParts
from api.web.problems import on_error
from core.db import UtcDateTime, insert_new, metadata
from core.errors import BadInput, Conflict, ServiceError
from core.ids import new_id
from core.limits import LIMITS

__all__ = ["IdempotentRoute", "answer_table", "media_type"]

answer_table = sa.Table(
    "idempotent_answer",
    metadata,
    sa.Column("client_id", sa.String(26), primary_key=True),
    sa.Column("key_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("request_sha256", sa.LargeBinary, nullable=False),
    sa.Column("subject", sa.String(26), nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("until", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index("ix_idempotent_answer_expires_at", "expires_at"),
)
"""``until``: the runner's lease; ``answer``: sealed status, headers and body, NULL while it runs."""

_KEY = re.compile(r"[!-~]{1,255}\Z")
_KEPT_HEADERS = ("content-type", "location", "etag", "content-language")
_NOT_KEPT = frozenset({401, 403, 408, 421, 429})


def media_type(request: Request) -> str:
    """Of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class IdempotentRoute(APIRoute):
    """Every POST of a router with this class honours the key, and JSON is taken as nothing but JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wraps the route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            access = access_of(self)
            if access is not None:
                await access(request)  # before anything is read, kept or replayed
            if self.body_field is not None and media_type(request) != "application/json":
                raise BadInput("web.wrong_type")
            key = request.headers.get("idempotency-key")
            try:
                if request.method != "POST" or key is None:
                    request.state.subject = new_id(request.app.state.parts.service.clock)
                    return await inner(request)
                return await _Once(request, key).run(inner)
            finally:
                await request.close()  # the files of a form, which the routes read themselves

        return handler


class _Once:
    def __init__(self, request: Request, key: str) -> None:
        if not _KEY.match(key):
            raise BadInput("idempotency.bad_key")
        self._request = request
        self._parts: WebParts = request.app.state.parts
        self._key = hashlib.sha256(key.encode()).digest()
        self._until = dt.datetime.min.replace(tzinfo=dt.UTC)

    async def run(self, inner: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
        request = self._request
        caller: Caller = request.state.caller
        body = await _digest(request)
        kept, subject = await self._begin(caller.client_id, body)
        if kept is not None:
            return kept
        request.state.subject = subject
        try:
            response = await inner(request)
        except ServiceError as error:
            response = await on_error(request, error)
        except BaseException:
            await asyncio.shield(self._give_up(caller.client_id))
            raise
        if response.status_code >= 500 or response.status_code in _NOT_KEPT:
            await self._give_up(caller.client_id)
        else:
            await self._keep(caller.client_id, response)
        return response

    def _where(self, client_id: str) -> sa.ColumnElement[bool]:
        return sa.and_(answer_table.c.client_id == client_id, answer_table.c.key_sha256 == self._key)

    async def _begin(self, client_id: str, body: bytes) -> tuple[Response | None, str]:
        """The kept answer, or the id to work under. Raises ``idempotency.other_body``, ``idempotency.running``."""
        clock = self._parts.service.clock
        now = clock.now()
        until = self._until = now + dt.timedelta(seconds=LIMITS["idempotency.lease_seconds"])
        fresh = {
            "client_id": client_id, "key_sha256": self._key, "request_sha256": body, "subject": new_id(clock),
            "answer": None, "until": until, "expires_at": now + dt.timedelta(days=LIMITS["idempotency.days"]),
        }  # fmt: skip
        async with self._parts.service.db.write() as uow:
            await uow.execute(answer_table.delete().where(answer_table.c.expires_at < now))
            if (await uow.execute(insert_new(uow, answer_table), fresh)).rowcount == 1:
                return None, str(fresh["subject"])
            row = (await uow.execute(sa.select(answer_table).where(self._where(client_id)))).one()
            if row.request_sha256 != body:
                raise BadInput("idempotency.other_body")
            if row.answer is not None:
                return self._opened(client_id, row.answer), row.subject
            taken = await uow.execute(
                answer_table.update().where(self._where(client_id), answer_table.c.until < now).values(until=until)
            )
            if taken.rowcount != 1:
                raise Conflict("idempotency.running", retry_after=2)
            return None, str(row.subject)

    async def _keep(self, client_id: str, response: Response) -> None:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        plain = json.dumps([response.status_code, headers]).encode() + b"\n" + bytes(response.body)
        sealed = self._parts.answers.seal(plain, client_id.encode() + self._key)
        async with self._parts.service.db.write() as uow:
            await uow.execute(answer_table.update().where(self._mine(client_id)).values(answer=sealed))

    def _opened(self, client_id: str, sealed: bytes) -> Response:
        head, _, body = self._parts.answers.open(sealed, client_id.encode() + self._key).partition(b"\n")
        status, headers = json.loads(head)
        return Response(body, status, {**headers, "idempotency-replayed": "true", "cache-control": "no-store"})

    async def _give_up(self, client_id: str) -> None:
        """The next try begins at once, and under the same id: what was made before the failure is found again."""
        async with self._parts.service.db.write() as uow:
            await uow.execute(
                answer_table.update()
                .where(self._mine(client_id))
                .values(until=self._parts.service.clock.now() - dt.timedelta(seconds=1))
            )

    def _mine(self, client_id: str) -> sa.ColumnElement[bool]:
        """Still ours: a runner that took over after the lease has another end of it."""
        return sa.and_(self._where(client_id), answer_table.c.until == self._until, answer_table.c.answer.is_(None))


async def _digest(request: Request) -> bytes:
    """Of method, path, query and body; of multipart its parts, since a boundary is new each time."""
    found = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        # kept on the request, so that the route reads the same parsed form
        form = await request.form(max_files=LIMITS["web.files_per_copy"], max_fields=50)
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                data = await value.read()
                await value.seek(0)
                part = [name, value.filename, hashlib.sha256(data).hexdigest()]
            else:
                part = [name, value]
            found.update(json.dumps(part).encode() + b"\n")
    else:
        found.update(request.headers.get("content-type", "").encode() + b"\n" + await request.body())
    return found.digest()
