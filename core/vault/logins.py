"""The ways to log in. What they hold and get never leaves this package but inside a ``SecretStr``."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import SecretStr

from core.errors import Refused, ServiceError, Unavailable
from core.logs import logger
from core.vault.answers import failure_of, says
from core.vault.config import AppRole, Cert, Kubernetes, Login, TokenFile, VaultConfig
from core.vault.wire import Call, Fate, Reply

__all__ = ["Entrance", "Lease", "Send"]

Send = Callable[[Call, SecretStr | None], Awaitable[Reply]]
"""One call with its repetitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A token and how long it is good. Times are monotonic seconds."""

    token: SecretStr = field(repr=False)
    generation: int
    """Counts logins: a renewed token keeps its number."""
    since: float
    seconds: float
    """From ``since`` on; 0 means without end."""
    renewable: bool
    first_seconds: float
    """What the login gave: a renewal that gives less comes too late."""
    ours: bool = True
    """Whether it may be revoked when we leave."""

    def left(self, now: float) -> float | None:
        """Seconds until it ends, None where it does not."""
        return None if self.seconds <= 0 else max(self.since + self.seconds - now, 0.0)


class Entrance:
    """Logs in as configured; remembers a secret id that was unwrapped, since it can be unwrapped only once."""

    def __init__(self, config: VaultConfig, send: Send) -> None:
        self._config = config
        self._send = send
        self._secret_id: SecretStr | None = None
        self._unwrapped: bytes | None = None
        """Hash of the wrapping token it came from."""
        self._logins = 0

    async def login(self) -> Lease:
        """A new token. Raises ``vault.login_failed``, ``vault.wrapped_twice``, ``vault.wrong_wrapping`` and, where the store
        cannot answer now, ``vault.unreachable``, ``.sealed``, ``.busy``, ``.untrusted``: never ``vault.outcome_unknown``.
        """
        login = self._config.login
        if isinstance(login, TokenFile):
            return await self._take(login)
        since = monotonic()
        path = f"auth/{login.mount}/login"
        reply = await self._send(self._call(path, await self._proof(login)), None)
        self._require(reply)
        return self._given(self._lease((reply.body or {}).get("auth"), since))

    async def renew(self, lease: Lease) -> Lease | None:
        """The same token for longer; None where only a new login helps. Raises as ``login`` for a store that cannot answer."""
        if not lease.renewable:
            return None
        since = monotonic()
        reply = await self._send(self._call("auth/token/renew-self", {}), lease.token)
        if reply.fate is Fate.ANSWERED and 400 <= reply.status < 500 and reply.status not in {412, 429, 472, 473}:
            return None
        self._require(reply)
        granted = _seconds((reply.body or {}).get("auth"))
        if granted < lease.first_seconds * 0.9:  # capped: it is near the end of its longest life
            return None
        return Lease(
            token=lease.token, generation=lease.generation, since=since, seconds=granted, renewable=True,
            first_seconds=lease.first_seconds, ours=lease.ours,
        )  # fmt: skip

    def _call(self, path: str, body: dict[str, Any]) -> Call:
        return Call(method="POST", path=path, body=body, namespace=self._config.namespace)

    async def _proof(self, login: Login) -> dict[str, Any]:
        if isinstance(login, AppRole):
            return {"role_id": login.role_id, "secret_id": (await self._secret(login)).get_secret_value()}
        if isinstance(login, Kubernetes):
            return {"role": login.role, "jwt": self._content(login.jwt_file).get_secret_value()}
        assert isinstance(login, Cert)  # the proof is in the connection
        return {"name": login.role} if login.role else {}

    async def _secret(self, login: AppRole) -> SecretStr:
        if not login.wrapped:
            return self._content(login.secret_id_file)
        if self._secret_id is not None and _text(login.secret_id_file) is None:
            return self._secret_id
        wrapping = self._content(login.secret_id_file)
        mark = hashlib.sha256(wrapping.get_secret_value().encode()).digest()
        if self._secret_id is None or mark != self._unwrapped:
            self._secret_id = await self._unwrap(login, wrapping)
            self._unwrapped = mark
            _remove(login.secret_id_file)
        return self._secret_id

    async def _unwrap(self, login: AppRole, wrapping: SecretStr) -> SecretStr:
        """Looked at first: a token made elsewhere is another's, and unwrapping it would tell them nothing was wrong."""
        looked = await self._send(self._call("sys/wrapping/lookup", {"token": wrapping.get_secret_value()}), None)
        self._require_unused(looked)
        made_at = _member(looked, "creation_path")
        if made_at != login.creation_path:
            raise self._alarm("vault.wrong_wrapping")
        reply = await self._send(self._call("sys/wrapping/unwrap", {}), wrapping)
        if reply.fate is Fate.LOST or (reply.fate is Fate.ANSWERED and reply.status < 300 and not reply.intact):
            raise self._alarm("vault.login_failed")  # the secret id is spent and nobody has it
        self._require_unused(reply)
        secret = _member(reply, "secret_id")
        if not secret:
            raise self._alarm("vault.wrong_wrapping")
        return SecretStr(secret)

    def _content(self, path: Path) -> SecretStr:
        word = _text(path)
        if word is None:
            raise Refused("vault.login_failed", host=self._config.host)
        return word

    def _require_unused(self, reply: Reply) -> None:
        if reply.fate is Fate.ANSWERED and (
            reply.status in {403, 404} or (reply.status == 400 and says(reply, "wrapping token"))
        ):
            raise self._alarm("vault.wrapped_twice")
        self._require(reply)

    def _require(self, reply: Reply) -> None:
        """Raises what a reply to a login means: nobody's call was sent yet."""
        error = failure_of(Call(method="GET", path=""), reply, self._config.host)  # as for a reading call
        if error is None:
            return
        if isinstance(error, Unavailable):
            raise error
        raise Refused("vault.login_failed", host=self._config.host)

    def _alarm(self, code: str) -> ServiceError:
        logger().error("vault.alarm", code=code)
        return Refused(code, host=self._config.host)

    async def _take(self, login: TokenFile) -> Lease:
        token, since = self._content(login.path), monotonic()
        reply = await self._send(
            Call(method="GET", path="auth/token/lookup-self", namespace=self._config.namespace), token
        )
        self._require(reply)
        data = (reply.body or {}).get("data") or {}
        auth = {
            "client_token": token.get_secret_value(), "lease_duration": data.get("ttl"), "renewable": data.get("renewable"),
        }  # fmt: skip
        return self._given(self._lease(auth, since, ours=False))

    def _given(self, lease: Lease | None) -> Lease:
        if lease is None:
            raise Refused("vault.login_failed", host=self._config.host)
        return lease

    def _lease(self, auth: Any, since: float, *, ours: bool = True) -> Lease | None:
        """None where the answer holds no token; nothing is raised beside what it does hold."""
        token = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            return None
        self._logins += 1
        seconds = _seconds(auth)
        batch = auth.get("token_type") == "batch"
        return Lease(
            token=SecretStr(token), generation=self._logins, since=since, seconds=seconds, first_seconds=seconds,
            renewable=auth.get("renewable") is True and not batch, ours=ours and not batch,
        )  # fmt: skip


def _seconds(auth: Any) -> float:
    value = auth.get("lease_duration") if isinstance(auth, dict) else None
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0


def _member(reply: Reply, name: str) -> str:
    data = (reply.body or {}).get("data")
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _text(path: Path) -> SecretStr | None:
    """A small file's one word, None for none."""
    try:
        with path.open("rb") as file:
            word = SecretStr(file.read(64 * 1024).decode("ascii").strip())
    except (OSError, ValueError):
        return None
    return word if re.fullmatch(r"[!-~]+", word.get_secret_value(), re.ASCII) else None


def _remove(path: Path) -> None:
    """A used token is of no use to us, and finding it at the next start would look like a theft."""
    try:
        path.unlink()
    except OSError:
        logger().warning("vault.secret_id_file_stays", error="OSError")
