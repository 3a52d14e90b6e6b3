"""Clients, their keys and tokens. What is kept is the SHA-256 of secrets with 256 random bits: a slow hash protects
passwords that people choose, not these.
"""

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from api.clients.model import Caller, Client, Scope, require_return_prefix
from core.clock import Clock
from core.db import Database, UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from core.errors import BadInput, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS

__all__ = ["Clients"]

client_table = sa.Table(
    "client",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("agencies", sa.JSON, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("return_urls", sa.JSON(none_as_null=True)),
)
client_key_table = sa.Table(
    "client_key",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("client_id", sa.String(26), sa.ForeignKey("client.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("sha256", sa.LargeBinary),
    sa.Column("jwk", sa.JSON(none_as_null=True)),
    sa.Column("valid_from", UtcDateTime, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.CheckConstraint("kind in ('secret', 'jwk')", name="kind"),
)
"""A secret is an API key and an OAuth client secret alike; a ``jwk`` is the public half for ``private_key_jwt``."""
token_table = sa.Table(
    "access_token",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("client_id", sa.String(26), sa.ForeignKey("client.id"), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)
assertion_table = sa.Table(
    "client_assertion",
    metadata,
    sa.Column("client_id", sa.String(26), primary_key=True),
    sa.Column("jti_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)
"""Assertions seen, each good for one token (RFC 7523 §3)."""

_KEY, _TOKEN = "dauso_", "dtok_"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ["ES256", "ES384", "PS256", "RS256", "EdDSA", "Ed25519"]


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _client(row: sa.Row[Any]) -> Client:
    return Client(
        id=row.id, name=row.name, agencies=frozenset(row.agencies), scopes=frozenset(map(Scope, row.scopes)),
        created_at=row.created_at, ended_at=row.ended_at, return_urls=tuple(row.return_urls or ()),
    )  # fmt: skip


class Clients:
    """Reads and writes clients; every answer to a wrong credential is the same."""

    def __init__(self, db: Database, clock: Clock, token_url: str) -> None:
        """``token_url``: the audience that assertions must name."""
        self._db, self._clock, self._token_url = db, clock, token_url

    # ------------------------------------------------------------------------------------------------ operators
    async def add(self, name: str, agencies: list[str], scopes: list[Scope], return_urls: Sequence[str] = ()) -> Client:
        """A new client, without a key yet. Raises ``client.incomplete``, ``client.bad_return_url``."""
        if not name.strip() or not agencies or not scopes:
            raise BadInput("client.incomplete")
        made = Client(
            id=new_id(self._clock), name=name.strip(), agencies=frozenset(agencies), scopes=frozenset(scopes),
            created_at=self._clock.now(), return_urls=tuple(require_return_prefix(url) for url in return_urls),
        )  # fmt: skip
        values = {c.name: getattr(made, c.name) for c in client_table.columns}
        lists = {"agencies": sorted(agencies), "scopes": sorted(scopes), "return_urls": list(made.return_urls)}
        async with self._db.write() as uow:
            await uow.execute(client_table.insert(), {**values, **lists})
        return made

    async def set_return_urls(self, client_id: str, return_urls: Sequence[str]) -> None:
        """These and no others from now on. Raises ``client.no_such_client``, ``client.bad_return_url``."""
        wanted = [require_return_prefix(url) for url in return_urls]
        async with self._db.write() as uow:
            await self._get(uow, client_id)
            await uow.execute(client_table.update().where(client_table.c.id == client_id).values(return_urls=wanted))

    async def living(self, uow: UnitOfWork, client_id: str) -> Client:
        """A client whose keys still open. Raises ``client.no_such_client``, ``web.bad_credentials``."""
        return await self._living(uow, client_id)

    async def all(self) -> list[Client]:
        """By age."""
        async with self._db.read() as uow:
            return [_client(row) for row in await uow.execute(sa.select(client_table).order_by(client_table.c.id))]

    async def new_secret(self, client_id: str, overlap: dt.timedelta) -> str:
        """A new API key, shown once; the ones before stay good for ``overlap``. Raises ``client.no_such_client``."""
        key_id = new_id(self._clock)
        secret = f"{_KEY}{key_id}_{base64.urlsafe_b64encode(random_bytes(32)).rstrip(b'=').decode()}"
        await self._put_key(client_id, overlap, id=key_id, kind="secret", sha256=_sha256(secret), jwk=None)
        return secret

    async def new_jwk(self, client_id: str, jwk: dict[str, Any], overlap: dt.timedelta) -> str:
        """Register a public key for ``private_key_jwt``; returns its ``kid``. Raises ``client.bad_jwk``."""
        key_id = new_id(self._clock)
        try:
            key: Any = JWKRegistry.import_key(jwk)
            public = {**key.as_dict(private=False), "kid": jwk.get("kid", key_id)}
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise BadInput("client.bad_jwk") from error
        if key.key_type == "oct" or key.is_private:
            raise BadInput("client.bad_jwk")
        await self._put_key(client_id, overlap, id=key_id, kind="jwk", sha256=None, jwk=public)
        return str(public["kid"])

    async def _put_key(self, client_id: str, overlap: dt.timedelta, **key: Any) -> None:
        now = self._clock.now()
        t = client_key_table.c
        async with self._db.write() as uow:
            await self._get(uow, client_id)
            until = now + overlap
            await uow.execute(
                client_key_table.update()
                .where(
                    t.client_id == client_id, t.kind == key["kind"], sa.or_(t.valid_to.is_(None), t.valid_to > until)
                )
                .values(valid_to=until)
            )
            await uow.execute(
                client_key_table.insert(), {"client_id": client_id, "valid_from": now, "valid_to": None, **key}
            )

    async def end(self, client_id: str) -> None:
        """From now on nothing of this client opens anything."""
        async with self._db.write() as uow:
            await self._get(uow, client_id)
            await uow.execute(
                client_table.update().where(client_table.c.id == client_id).values(ended_at=self._clock.now())
            )

    async def _get(self, uow: UnitOfWork, client_id: str) -> Client:
        row = (await uow.execute(row_by(client_table.c.id), {"value": client_id})).first()
        if row is None:
            raise NotFound("client.no_such_client", client=client_id)
        return _client(row)

    # ------------------------------------------------------------------------------------------------- requests
    async def authenticate(self, header: str) -> Caller:
        """``Authorization: Bearer`` with an API key or a token. Raises ``web.no_credentials``, ``web.bad_credentials``."""
        kind, _, value = header.partition(" ")
        if not value:
            raise Refused("web.no_credentials")
        if kind.lower() != "bearer" or len(value) > 200:
            raise Refused("web.bad_credentials")
        async with self._db.read() as uow:
            if value.startswith(_TOKEN):
                return await self._by_token(uow, value)
            found = await self._by_secret(uow, value)
        return Caller(client_id=found.id, agencies=found.agencies, scopes=found.scopes)

    async def _by_secret(self, uow: UnitOfWork, secret: str) -> Client:
        key_id = secret.removeprefix(_KEY).partition("_")[0]
        row = (await uow.execute(row_by(client_key_table.c.id), {"value": key_id})).first()
        # the row is found by a public id, so comparing digests of 256 random bits leaks nothing that helps
        if row is None or row.sha256 != _sha256(secret) or not self._valid(row):
            raise Refused("web.bad_credentials")
        return await self._living(uow, row.client_id)

    async def _by_token(self, uow: UnitOfWork, token: str) -> Caller:
        row = (await uow.execute(row_by(token_table.c.sha256), {"value": _sha256(token)})).first()
        if row is None or row.expires_at <= self._clock.now():
            raise Refused("web.bad_credentials")
        found = await self._living(uow, row.client_id)
        return Caller(
            client_id=found.id, agencies=found.agencies, scopes=found.scopes & frozenset(map(Scope, row.scopes))
        )

    def _valid(self, row: sa.Row[Any]) -> bool:
        now = self._clock.now()
        return bool(row.valid_from <= now and (row.valid_to is None or now < row.valid_to))

    async def _living(self, uow: UnitOfWork, client_id: str) -> Client:
        found = await self._get(uow, client_id)
        if found.ended_at is not None:
            raise Refused("web.bad_credentials")
        return found

    # ----------------------------------------------------------------------------------------- OAuth 2, RFC 6749
    async def token(self, header: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Client credentials (RFC 6749 §4.4): basic, post, or ``private_key_jwt`` (RFC 7523). Raises ``oauth.*``."""
        if form.get("grant_type") != "client_credentials":
            raise BadInput("oauth.unsupported_grant_type")
        async with self._db.write() as uow:
            if "client_assertion" in form:
                found = await self._by_assertion(uow, form)
            else:
                found = await self._by_client_secret(uow, header, form)
            asked = form.get("scope", "").split()
            try:
                scopes = {Scope(name) for name in asked} if asked else set(found.scopes)
            except ValueError:
                raise BadInput("oauth.invalid_scope") from None
            if not scopes <= found.scopes:
                raise BadInput("oauth.invalid_scope")
            token = _TOKEN + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
            lasts = LIMITS["oauth.token_seconds"]
            now = self._clock.now()
            await uow.execute(token_table.delete().where(token_table.c.expires_at < now))
            await uow.execute(
                token_table.insert(),
                {"sha256": _sha256(token), "client_id": found.id, "scopes": sorted(scopes),
                 "expires_at": now + dt.timedelta(seconds=lasts)},
            )  # fmt: skip
        return {"access_token": token, "token_type": "Bearer", "expires_in": lasts, "scope": " ".join(sorted(scopes))}

    async def _by_client_secret(self, uow: UnitOfWork, header: str, form: Mapping[str, str]) -> Client:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if header:
            try:
                kind, _, value = header.partition(" ")
                client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except (ValueError, binascii.Error):
                raise Refused("oauth.invalid_client") from None
            if kind.lower() != "basic":
                raise Refused("oauth.invalid_client")
        try:
            found = await self._by_secret(uow, secret)
        except (Refused, NotFound):
            raise Refused("oauth.invalid_client") from None
        if found.id != client_id:
            raise Refused("oauth.invalid_client")
        return found

    async def _by_assertion(self, uow: UnitOfWork, form: Mapping[str, str]) -> Client:
        text = form["client_assertion"]
        if form.get("client_assertion_type") != _ASSERTION or len(text) > 4_096:
            raise Refused("oauth.invalid_client")
        client_id = _unverified_subject(text)
        keys = await uow.execute(
            sa.select(client_key_table).where(
                client_key_table.c.client_id == client_id, client_key_table.c.kind == "jwk"
            )
        )
        for row in keys.all():
            if not self._valid(row):
                continue
            try:
                claims = jwt.decode(text, JWKRegistry.import_key(row.jwk), algorithms=_ALGORITHMS).claims
            except (JoseError, ValueError, TypeError):
                continue
            await self._require_claims(uow, claims, client_id)
            try:
                return await self._living(uow, client_id)
            except (Refused, NotFound):
                break
        raise Refused("oauth.invalid_client")

    async def _require_claims(self, uow: UnitOfWork, claims: dict[str, Any], client_id: str) -> None:
        now = self._clock.now().timestamp()
        aud = claims.get("aud")
        expires, jti = claims.get("exp"), claims.get("jti")
        good = (
            claims.get("iss") == claims.get("sub") == client_id
            and self._token_url in (aud if isinstance(aud, list) else [aud])
            and isinstance(expires, int) and now < expires <= now + LIMITS["oauth.assertion_seconds"]
            and (not isinstance(claims.get("nbf"), int) or claims["nbf"] <= now + 5)
            and isinstance(jti, str) and 0 < len(jti) <= 200
        )  # fmt: skip
        if not good:
            raise Refused("oauth.invalid_client")
        assert isinstance(expires, int) and isinstance(jti, str)  # noqa: PT018
        await uow.execute(assertion_table.delete().where(assertion_table.c.expires_at < self._clock.now()))
        seen = {
            "client_id": client_id,
            "jti_sha256": _sha256(jti),
            "expires_at": dt.datetime.fromtimestamp(expires, dt.UTC),
        }
        if (await uow.execute(insert_new(uow, assertion_table), seen)).rowcount != 1:
            raise Refused("oauth.invalid_client")


def _unverified_subject(text: str) -> str:
    """Only to find the keys; everything is verified afterwards."""
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject = claims["sub"]
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error):
        raise Refused("oauth.invalid_client") from None
    if not isinstance(subject, str) or not re.fullmatch(r"[0-9a-z]{26}", subject):
        raise Refused("oauth.invalid_client")
    return subject
