"""Where the store is and how we log in. Nothing here is read from the environment of hvac or requests."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from core.errors import BadInput
from core.limits import LIMITS
from core.settings import Settings

__all__ = ["AppRole", "Cert", "Kubernetes", "Login", "TokenFile", "VaultConfig", "config_of"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole:
    """A role id and a secret id in a file.

    ``wrapped``: the file holds a wrapping token, good for one unwrapping, made at ``creation_path`` and nowhere else
    (``auth/approle/role/NAME/secret-id``). The file is removed once it was used; a new token in it is taken at the next
    login.
    """

    role_id: str = field(repr=False)
    secret_id_file: Path
    wrapped: bool = True
    creation_path: str = ""
    mount: str = "approle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """A projected, audience-bound token of the pod; read again at each login, since the kubelet replaces it.

    ``mount`` may be a JWT mount too: it takes the same two members.
    """

    role: str
    jwt_file: Path = Path("/var/run/secrets/tokens/vault")
    mount: str = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cert:
    """A client certificate (PEM), shown on every connection: the server binds the token to it."""

    cert_file: Path
    key_file: Path
    role: str = ""
    mount: str = "cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """A token that an agent beside us keeps fresh; read again at each login and never revoked by us."""

    path: Path


Login = AppRole | Kubernetes | Cert | TokenFile


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultConfig:
    """One store. ``connect_seconds`` for a connection, ``total_seconds`` for a call with its repetitions.

    Raises ``vault.not_https`` (plain http is for loopback alone), ``vault.not_configured``.
    """

    url: str
    login: Login
    namespace: str = ""
    ca_file: Path | None = None
    connect_seconds: float = 1.0
    total_seconds: float = 4.0
    threads: int = LIMITS["vault.threads"]

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            raise BadInput("vault.not_configured", what="vault_url")
        if parts.path not in {"", "/"}:
            raise BadInput("vault.not_configured", what="vault_url")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
            raise BadInput("vault.not_https", host=parts.hostname)
        if self.namespace and not _NAME.fullmatch(self.namespace.strip("/")):
            raise BadInput("vault.not_configured", what="vault_namespace")
        if isinstance(self.login, AppRole) and self.login.wrapped and not self.login.creation_path:
            raise BadInput("vault.not_configured", what="vault_role")

    @property
    def host(self) -> str:
        """Host name or address, without the port."""
        return urlsplit(self.url).hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def config_of(settings: Settings) -> VaultConfig:
    """From ``vault_*``. Raises ``vault.not_configured`` (which setting is missing), ``vault.not_https``."""
    if not settings.vault_url:
        raise BadInput("vault.not_configured", what="vault_url")
    return VaultConfig(
        url=settings.vault_url.rstrip("/"),
        namespace=settings.vault_namespace.strip("/"),
        ca_file=settings.vault_ca_file,
        login=_login_of(settings),
    )


def _login_of(settings: Settings) -> Login:
    role, mount = settings.vault_role, settings.vault_mount
    match settings.vault_login:
        case "approle":
            mount = _named(mount or "approle", "vault_mount")
            return AppRole(
                role_id=_required(settings.vault_role_id, "vault_role_id"),
                secret_id_file=_file(settings.vault_secret_id_file, "vault_secret_id_file"),
                wrapped=settings.vault_wrapped,
                creation_path=f"auth/{mount}/role/{_named(role, 'vault_role')}/secret-id" if role else "",
                mount=mount,
            )
        case "kubernetes":
            return Kubernetes(
                role=_required(role, "vault_role"),
                jwt_file=_file(settings.vault_jwt_file, "vault_jwt_file"),
                mount=_named(mount or "kubernetes", "vault_mount"),
            )
        case "cert":
            return Cert(
                cert_file=_file(settings.vault_cert_file, "vault_cert_file"),
                key_file=_file(settings.vault_key_file, "vault_key_file"),
                role=role,
                mount=_named(mount or "cert", "vault_mount"),
            )
        case "token":
            return TokenFile(path=_file(settings.vault_token_file, "vault_token_file"))


def _required(value: str, name: str) -> str:
    if not value:
        raise BadInput("vault.not_configured", what=name)
    return value


def _named(value: str, name: str) -> str:
    if not _NAME.fullmatch(value):
        raise BadInput("vault.not_configured", what=name)
    return value


def _file(path: Path | None, name: str) -> Path:
    if path is None:
        raise BadInput("vault.not_configured", what=name)
    return path
