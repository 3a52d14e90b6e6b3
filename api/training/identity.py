"""A small OpenID Connect provider with simulated people: discovery, log-in page, token endpoint with PKCE, keys, user info.

It is a real provider, but for its people: whoever picks one *is* that person. So it exists in realm training alone, its
metadata and tokens carry a mark that a service in production refuses, and its numbers begin with 999, as nobody's do.
"""

import base64
import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx2
from jinja2 import Environment, PackageLoader, StrictUndefined
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from core.clock import Clock
from core.errors import Refused
from core.ids import random_bytes
from core.messages import LANGUAGES, sentence
from core.values import Realm
from signer.enrolment.oidc import TRAINING_MARK, pkce_challenge

__all__ = ["SIMULATED", "Simulated", "TrainingIdentity", "training_identity"]

_NUMBER: Final = re.compile(r"999[0-9]{9}")
_MOST_PENDING: Final = 2_000
_CODE_SECONDS: Final = 60
_PAGE_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class Simulated:
    """Nobody real."""

    number: str
    name: str
    email: str = ""


SIMULATED: Final = (
    Simulated("999000000001", "Nguyễn Thị Tập", "tap@tap-huan.example"),
    Simulated("999000000002", "Trần Văn Huấn", "huan@tap-huan.example"),
    Simulated("999000000003", "Lò Thị Mẫu"),
    Simulated("999000000004", "Hoàng A Thử"),
)


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A log-in page that is open, and then the code it gave."""

    redirect_uri: str
    state: str
    nonce: str
    challenge: str
    until: dt.datetime
    person: Simulated | None = None


@dataclass(slots=True, kw_only=True)
class TrainingIdentity:
    """Kept in memory: a log-in is a matter of minutes."""

    issuer: str
    clock: Clock
    redirect_uris: frozenset[str]
    client_id: str = "dauso"
    client_secret: str = field(default="", repr=False)
    people: Sequence[Simulated] = SIMULATED
    algorithm: str = "RS256"
    keys: KeySet = field(default_factory=lambda: KeySet([RSAKey.generate_key(2048), ECKey.generate_key("P-256")]))
    _open: dict[str, _Pending] = field(default_factory=dict)
    _tokens: dict[str, Simulated] = field(default_factory=dict)

    def app(self) -> ASGIApp:
        """Its routes, below the issuer's path."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/authorize", self._page),
                Route("/authorize", self._picked, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo, methods=["GET", "POST"]),
                Route("/style.css", _style),
            ]
        )

    # --------------------------------------------------------------------------------------------------- for services
    async def _metadata(self, _: Request) -> Response:
        base = self.issuer
        return JSONResponse(
            {
                "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/jwks", "userinfo_endpoint": f"{base}/userinfo", "response_types_supported": ["code"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                "code_challenge_methods_supported": ["S256"], "scopes_supported": ["openid"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
                "authorization_response_iss_parameter_supported": True, TRAINING_MARK: True,
            }
        )  # fmt: skip

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(self.keys.as_dict(private=False))

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        given = {name: str(value) for name, value in form.items()}
        secret = given.get("client_secret", "")
        if given.get("client_id") != self.client_id or not hmac.compare_digest(
            secret.encode(), self.client_secret.encode()
        ):
            return JSONResponse({"error": "invalid_client"}, 401)
        pending = self._taken(f"code {given.get('code', '')}")
        if (
            pending is None
            or pending.person is None
            or given.get("grant_type") != "authorization_code"
            or given.get("redirect_uri") != pending.redirect_uri
            or pkce_challenge(given.get("code_verifier", "")) != pending.challenge
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access = _secret()
        if len(self._tokens) >= _MOST_PENDING:
            self._tokens.clear()
        self._tokens[access] = pending.person
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": _CODE_SECONDS}
        return JSONResponse(
            {**answer, "id_token": self.id_token(pending.person, pending.nonce)}, headers={"cache-control": "no-store"}
        )

    def id_token(self, person: Simulated, nonce: str, **change: Any) -> str:
        """Signed. ``change``: other claims, for tests."""
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, "auth_time": now, "nonce": nonce, **self._said(person),
            **change,
        }  # fmt: skip
        kind = "EC" if self.algorithm == "ES256" else "RSA"
        key = next(k for k in self.keys.keys if k.key_type == kind)
        return jwt.encode({"alg": self.algorithm, "kid": key.kid}, claims, key, algorithms=[self.algorithm])

    @staticmethod
    def _said(person: Simulated) -> dict[str, Any]:
        said: dict[str, Any] = {
            "sub": hashlib.sha256(person.number.encode()).hexdigest()[:32], "SoDinhDanh": person.number, "acr": "2",
            TRAINING_MARK: True,
        }  # fmt: skip
        return said | {claim: text for claim, text in (("HoVaTen", person.name), ("email", person.email)) if text}

    async def _userinfo(self, request: Request) -> Response:
        token = str((await request.form()).get("access_token", "")) or request.query_params.get("token_id", "")
        person = self._tokens.get(token)
        return JSONResponse({"error": "invalid_token"}, 401) if person is None else JSONResponse(self._said(person))

    # ----------------------------------------------------------------------------------------------------- for people
    async def _page(self, request: Request) -> Response:
        asked = request.query_params
        if asked.get("client_id") != self.client_id or asked.get("redirect_uri") not in self.redirect_uris:
            return self._render(request, 400, pending=None)  # never a redirect to a place nobody registered
        if (
            asked.get("response_type") != "code"
            or asked.get("code_challenge_method") != "S256"
            or not asked.get("code_challenge")
        ):
            return self._back(asked["redirect_uri"], error="invalid_request", state=asked.get("state", ""))
        pending = _Pending(
            redirect_uri=asked["redirect_uri"], state=asked.get("state", ""), nonce=asked.get("nonce", ""),
            challenge=asked["code_challenge"], until=self.clock.now() + dt.timedelta(seconds=_PAGE_SECONDS),
        )  # fmt: skip
        return self._render(request, 200, pending=self._put("page", pending))

    async def _picked(self, request: Request) -> Response:
        form = {name: str(value).strip() for name, value in (await request.form()).items()}
        pending = self._taken(f"page {form.get('pending', '')}")
        if pending is None:
            return self._render(request, 400, pending=None)
        person = self._person(form)
        if person is None:
            error = "access_denied" if "refuse" in form else "invalid_request"
            return self._back(pending.redirect_uri, error=error, state=pending.state)
        pending.person, pending.until = person, self.clock.now() + dt.timedelta(seconds=_CODE_SECONDS)
        return self._back(pending.redirect_uri, code=self._put("code", pending), state=pending.state)

    def _person(self, form: dict[str, str]) -> Simulated | None:
        """One of the list, or one who is written in: an official of a training agency, say."""
        if "refuse" in form:
            return None
        if form.get("person"):
            return next((p for p in self.people if p.number == form["person"]), None)
        number = "".join(form.get("number", "").split())  # people write it in groups
        if not _NUMBER.fullmatch(number):
            return None
        return Simulated(
            number, form.get("name", "")[:64]
        )  # without a name none is asserted: the number says who it is

    def _back(self, redirect_uri: str, **answer: str) -> Response:
        query = urlencode({**answer, "iss": self.issuer})  # RFC 9207
        return RedirectResponse(f"{redirect_uri}?{query}", 303, headers={"cache-control": "no-store"})

    def _render(self, request: Request, status: int, *, pending: str | None) -> Response:
        language = request.query_params.get("lang", LANGUAGES[0])
        language = language if language in LANGUAGES else LANGUAGES[0]
        page = _templates.get_template("identity.html").render(
            lang=language, t=lambda code: sentence(code, language), people=self.people, pending=pending,
            base=httpx2.URL(self.issuer).path.rstrip("/"),
        )  # fmt: skip
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return Response(page, status, media_type="text/html", headers=headers)

    # -------------------------------------------------------------------------------------------------------- memory
    def _put(self, kind: str, pending: _Pending) -> str:
        now = self.clock.now()
        for name in [name for name, each in self._open.items() if each.until <= now]:
            del self._open[name]
        while len(self._open) >= _MOST_PENDING:
            del self._open[next(iter(self._open))]
        made = _secret()
        self._open[f"{kind} {made}"] = pending
        return made

    def _taken(self, name: str) -> _Pending | None:
        """Once, and in time."""
        found = self._open.pop(name, None)
        return found if found is not None and self.clock.now() < found.until else None


def training_identity(*, issuer: str, redirect_uri: str, realm: Realm, clock: Clock, **more: Any) -> TrainingIdentity:
    """For the signing origin. Raises ``identity.training_issuer`` outside training."""
    if realm is not Realm.TRAINING:
        raise Refused("identity.training_issuer")
    return TrainingIdentity(issuer=issuer, clock=clock, redirect_uris=frozenset({redirect_uri}), **more)


async def _style(_: Request) -> Response:
    return Response(_CSS, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _secret() -> str:
    return base64.urlsafe_b64encode(random_bytes(24)).decode()


_templates: Final = Environment(loader=PackageLoader("api.training"), autoescape=True, undefined=StrictUndefined)
_CSS: Final = (
    "body{margin:0;font:1.0625rem/1.5 system-ui,sans-serif;background:#fff;color:#1a1a1a}"
    ".training{position:sticky;top:0;margin:0;padding:.5rem 1rem;background:#7a1f00;color:#fff;font-weight:700}"
    "main{max-width:30rem;margin:0 auto;padding:1rem}h1{font-size:1.4rem}h2{font-size:1.1rem}"
    "button{display:block;width:100%;min-height:3rem;margin:.5rem 0;padding:.5rem 1rem;font:inherit;text-align:left;"
    "background:#fff;color:#1a1a1a;border:2px solid #7a1f00;border-radius:.5rem;cursor:pointer}"
    "button.main{background:#7a1f00;color:#fff;font-weight:700;text-align:center}"
    "button:focus-visible,input:focus-visible{outline:3px solid #0b57d0;outline-offset:2px}"
    "label{display:block;margin:.5rem 0 0}input{width:100%;box-sizing:border-box;min-height:3rem;font:inherit;"
    "padding:.25rem .5rem;border:1px solid #595959;border-radius:.25rem}.soft{color:#595959}"
    "@media (prefers-color-scheme:dark){body,button,input{background:#121212;color:#f1f1f1}.soft{color:#b8b8b8}"
    "button{border-color:#ff9d7a}}"
)
