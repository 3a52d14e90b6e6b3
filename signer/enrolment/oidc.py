"""An OpenID Connect provider as relying party: authorization code with PKCE, and an ID token that is believed last.

The order of checks: the answer's ``iss`` (RFC 9207) · the code at the token endpoint with its verifier (RFC 7636) · the
ID token's algorithm against an allow-list, its key by ``kid`` from the provider's JWKS, its signature · issuer, audience,
authorised party, times, nonce. Everything goes out through ``core.outbound``; no token, code or claim is ever logged.
"""

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from core.clock import Clock
from core.errors import BadInput, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.outbound import Answer, Outbound, is_secure
from core.values import Realm

__all__ = ["ALGORITHMS", "TRAINING_MARK", "ClaimMap", "Claims", "Provider", "pkce_challenge"]

ALGORITHMS: Final = ("ES256", "ES384", "PS256", "RS256")
"""Signatures with a public key; never ``none``, never a shared secret."""
TRAINING_MARK: Final = "dauso_training"
"""Member that our simulated provider writes into its metadata and its tokens."""
_FORM: Final = "application/x-www-form-urlencoded"
_SKEW: Final = 60
"""Seconds by which two good clocks may differ."""


def pkce_challenge(verifier: str) -> str:
    """S256 (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMap:
    """Which claim of a provider says what; a dot leads into an object. Empty: the provider does not say it."""

    subject: str = "sub"
    number: str = "SoDinhDanh"
    name: str = "HoVaTen"
    level: str = "acr"
    email: str = ""

    @classmethod
    def parse(cls, text: str) -> "ClaimMap":
        """From a setting: a JSON object of strings. Raises ``identity.bad_claims``."""
        try:
            given = json.loads(text or "{}")
            if not all(isinstance(value, str) for value in given.values()):
                raise TypeError
            return cls(**given)
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput("identity.bad_claims") from error

    def read(self, claims: Mapping[str, Any]) -> "Claims":
        """What the provider says of the person. Raises ``identity.no_number``."""
        found = {part: _at(claims, getattr(self, part)) for part in ("subject", "number", "name", "level", "email")}
        if not found["number"] or not found["subject"]:
            raise Refused("identity.no_number")
        return Claims(**found)


def _at(claims: Mapping[str, Any], path: str) -> str:
    value: Any = claims
    for part in path.split(".") if path else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return str(value).strip() if path and isinstance(value, str | int) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A verified person, in memory only."""

    subject: str
    number: str
    name: str
    level: str
    email: str

    def __repr__(self) -> str:
        return "Claims(…)"


@dataclass(slots=True, kw_only=True)
class _Known:
    """What discovery and JWKS said, until ``until``."""

    metadata: dict[str, Any]
    until: dt.datetime
    keys: KeySet | None = None
    keys_at: dt.datetime | None = None


@dataclass(slots=True, kw_only=True)
class Provider:
    """One provider, as the settings name it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    """Empty for a public client; PKCE protects the code either way."""
    redirect_uri: str
    scope: str
    claims: ClaimMap
    levels: frozenset[str]
    """Values of the level claim that are good enough; empty means any."""
    userinfo: str
    """Empty: the ID token says all; ``post``: asked with the token in the body; ``query:NAME`` or ``query:NAME:URL``: in
    the URL, as VNeID wants.
    """
    realm: Realm
    outbound: Outbound
    private: frozenset[str]
    clock: Clock
    own_outbound: bool = False
    """Whether ``close`` closes the connections too."""
    _known: _Known | None = None

    async def close(self) -> None:
        """No more log-ins."""
        if self.own_outbound:
            await self.outbound.close()

    async def login_url(self, *, state: str, nonce: str, verifier: str, fresh: bool = False) -> str:
        """Where the browser goes; ``fresh``: no older log-in will do. Raises ``identity.provider``, ``outbound.*``."""
        metadata = (await self._discovered()).metadata
        asked = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_uri, "scope": self.scope,
            "state": state, "nonce": nonce, "code_challenge": pkce_challenge(verifier), "code_challenge_method": "S256",
            "prompt": "login", **({"max_age": "0"} if fresh else {}),
        }  # fmt: skip
        url = metadata["authorization_endpoint"]
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"

    async def require_issuer(self, given: str | None) -> None:
        """The answer's ``iss`` (RFC 9207 §2.4). Raises ``identity.wrong_issuer``."""
        promised = (await self._discovered()).metadata.get("authorization_response_iss_parameter_supported") is True
        if given != self.issuer and (promised or given is not None):
            raise Refused("identity.wrong_issuer")

    async def exchange(self, *, code: str, verifier: str, nonce: str, since: dt.datetime | None = None) -> Claims:
        """A code for a verified person; ``since``: who logged in then or later. Raises ``identity.*``, ``outbound.*``."""
        known = await self._discovered()
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "client_id": self.client_id,
            "code_verifier": verifier,
        }  # fmt: skip
        if self.client_secret:
            form["client_secret"] = self.client_secret
        answer = await self.outbound.fetch(
            known.metadata["token_endpoint"], body=urlencode(form).encode(), content_type=_FORM, most=_MOST
        )
        if answer.status in {400, 401, 403}:
            raise Refused("identity.code_refused")
        tokens = _object(answer)
        claims = await self._verified(str(tokens.get("id_token", "")), nonce)
        if since is not None:
            self._require_fresh(claims, since)
        if self.userinfo:
            claims = {**await self._info(known, str(tokens.get("access_token", "")), claims["sub"]), **claims}
        found = self.claims.read(claims)
        if self.levels and found.level not in self.levels:
            raise Refused("identity.level")
        return found

    # ---------------------------------------------------------------------------------------------------- the token
    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, await self._keys(), algorithms=list(ALGORITHMS)).claims
        except InvalidKeyIdError:  # the provider may have changed keys since we looked
            claims = await self._verified_anew(token)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Refused("identity.bad_token") from error
        self._require(claims, nonce)
        return claims

    async def _verified_anew(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(token, await self._keys(anew=True), algorithms=list(ALGORITHMS)).claims
        except InvalidKeyIdError as error:
            raise Refused("identity.unknown_key") from error
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Refused("identity.bad_token") from error

    def _require(self, claims: Mapping[str, Any], nonce: str) -> None:
        """OpenID Connect Core §3.1.3.7."""
        if claims.get("iss") != self.issuer:
            raise Refused("identity.wrong_issuer")
        _require_no_training(claims, self.realm)
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        party = claims.get("azp")
        if self.client_id not in named or (party is None and len(named) > 1) or party not in {None, self.client_id}:
            raise Refused("identity.wrong_audience")
        now = self.clock.now().timestamp()
        until, since = _number(claims.get("exp")), _number(claims.get("iat"))
        if until <= now - _SKEW or since > now + _SKEW or since < now - LIMITS["identity.token_seconds"]:
            raise Refused("identity.token_expired")
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise Refused("identity.wrong_nonce")
        if not isinstance(claims.get("sub"), str):
            raise Refused("identity.bad_token")

    def _require_fresh(self, claims: Mapping[str, Any], since: dt.datetime) -> None:
        """What ``max_age=0`` asked for; a provider that passes over it is not believed (OpenID Connect Core §2, §3.1.2.1)."""
        at = _number(claims.get("auth_time"))
        if not since.timestamp() - _SKEW <= at <= self.clock.now().timestamp() + _SKEW:
            raise Refused("identity.not_fresh")

    async def _info(self, known: _Known, access: str, subject: str) -> dict[str, Any]:
        """More claims; only of the same subject (OpenID Connect Core §5.3.2)."""
        how, name, url = [*self.userinfo.split(":", 2), "", ""][:3]
        url = url or str(known.metadata.get("userinfo_endpoint", ""))
        if not access or not _good(url, self.private):  # the token would go there
            raise Unavailable("identity.provider")
        if how == "query":
            answer = await self.outbound.fetch(f"{url}{'&' if '?' in url else '?'}{urlencode({name: access})}")
        else:
            body = urlencode({"access_token": access}).encode()
            answer = await self.outbound.fetch(url, body=body, content_type=_FORM, most=_MOST)
        said = _object(answer)
        if said.get("sub", subject) != subject or (how != "query" and "sub" not in said):
            raise Refused("identity.bad_token")
        return said

    # -------------------------------------------------------------------------------------------------- the provider
    async def _discovered(self) -> _Known:
        now = self.clock.now()
        if self._known is None or self._known.until <= now:
            answer = await self.outbound.fetch(
                f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", most=_MOST
            )
            metadata = _object(answer)
            if metadata.get("issuer") != self.issuer:  # OpenID Connect Discovery §4.3
                raise Refused("identity.wrong_issuer")
            _require_no_training(metadata, self.realm)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not _good(metadata.get(name), self.private):
                    raise Unavailable("identity.provider")
            until = now + dt.timedelta(seconds=LIMITS["identity.discovery_seconds"])
            self._known = _Known(metadata=metadata, until=until)
        return self._known

    async def _keys(self, *, anew: bool = False) -> KeySet:
        known, now = await self._discovered(), self.clock.now()
        rested = known.keys_at is None or now - known.keys_at >= dt.timedelta(seconds=LIMITS["identity.keys_seconds"])
        if known.keys is None or (anew and rested):  # tokens with invented kids must not make us ask without end
            answer = await self.outbound.fetch(known.metadata["jwks_uri"], most=_MOST)
            try:
                found = _object(answer)
                public = [k for k in found["keys"] if k.get("kty") in {"EC", "RSA"} and k.get("use", "sig") == "sig"]
                known.keys, known.keys_at = KeySet.import_key_set({"keys": public}), now
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise Unavailable("identity.provider") from error
        return known.keys


_MOST: Final = 256 * 1024


def _require_no_training(said: Mapping[str, Any], realm: Realm) -> None:
    """The simulated provider says so everywhere; in production that ends it. Raises ``identity.training_issuer``."""
    if realm is Realm.PRODUCTION and said.get(TRAINING_MARK):
        raise Refused("identity.training_issuer")


def _number(value: Any) -> float:
    """A NumericDate; what is none has run out."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _good(url: Any, private: frozenset[str]) -> bool:
    try:
        return isinstance(url, str) and is_secure(url, private)
    except ServiceError:
        return False


def _object(answer: Answer) -> dict[str, Any]:
    """A JSON object with status 200. Raises ``identity.provider``."""
    try:
        found = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable("identity.provider")
    return found
