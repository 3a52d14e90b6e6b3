"""All settings in one table; environment variables ``DAUSO_…``. Importing reads nothing.

``docs/reference/settings.md`` lists them; a test compares.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]


class Settings(BaseSettings):
    """Frozen; read once by ``api.bootstrap``. Good without any value set: SQLite and folders under ``home``."""

    model_config = SettingsConfigDict(env_prefix="DAUSO_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".dauso"), description="Folder of the embedded store, keys and documents.")
    database_url: str = Field(default="", description="SQLAlchemy URL; empty means SQLite under home.")
    objects_url: str = Field(
        default="", description="Object store URL (file:// or s3://); empty means a folder under home."
    )
    highwater: Path | None = Field(
        default=None, description="File of the log's high-water mark; best on another volume."
    )
    host: str = Field(default="localhost", description="Public host printed beside the QR code and inside it.")
    log_origin: str = Field(default="", description="Origin (key name) of the signature log; empty means host/log.")
    system_name: str = Field(default="Dauso", description="Name of the information system printed on copies.")
    key_passphrase: SecretStr | None = Field(default=None, description="Passphrase of the software key store.")
    key_file: Path | None = Field(
        default=None, description="32-byte key file of the software key store; made under home."
    )
    tsa_url: str = Field(default="", description="External RFC 3161 authority; empty means the embedded one.")
    tsa_anchor: Path | None = Field(
        default=None, description="PEM file of root certificates an external time-stamping authority must lead to."
    )
    outbound_private: str = Field(
        default="", description="Inner services that may be reached, host:port each, separated by commas."
    )
    web_bind: str = Field(default="127.0.0.1:8000", description="Address and port of the public door.")
    operator_bind: str = Field(
        default="127.0.0.1:8002",
        description="Address and port of the operator's door (metrics); never shown to the world.",
    )
    sign_bind: str = Field(
        default="127.0.0.1:8001", description="Address and port of the signer's own door, where approvals arrive."
    )
    sign_url: str = Field(
        default="http://sign.localhost:8001",
        description="Origin of that door as phones see it; its host is the passkeys' RP ID.",
    )
    web_workers: int = Field(default=1, ge=1, le=64, description="Processes behind the public door.")
    web_hosts: str = Field(
        default="", description="Further host names that are answered, separated by commas; `host` always is."
    )
    web_proxies: str = Field(
        default="", description="Addresses of proxies whose X-Forwarded-For is believed, separated by commas."
    )
    web_url: str = Field(default="", description="How people reach the public door; empty means https:// and host.")
    pki_url: str = Field(
        default="",
        description="Written into certificates for OCSP, CRL and issuers; empty means http:// and host (RFC 5280 §8).",
    )
    web_key_file: Path | None = Field(
        default=None,
        description="32-byte key file of the web process for answers and webhook secrets; made under home.",
    )
    people_key_file: Path | None = Field(
        default=None, description="32-byte key file of the signer for numbers and addresses of people; made under home."
    )
    signer_socket: Path | None = Field(
        default=None, description="Unix socket on which the signer answers the web process; empty means under home."
    )
    executor_id: str = Field(
        default="local", description="Stable name of this process for recovery of unfinished work."
    )
    traces_url: str = Field(
        default="",
        description="OTLP/HTTP collector for traces, named in outbound_private where it is inner; empty means none.",
    )
    identity_issuer: str = Field(
        default="", description="Issuer URL of the OpenID Connect provider at which people show who they are."
    )
    identity_client_id: str = Field(default="dauso", description="Our client id at that provider.")
    identity_client_secret: SecretStr | None = Field(
        default=None, description="Our client secret there (client_secret_post); none for a public client with PKCE."
    )
    identity_scope: str = Field(default="openid", description="Scopes asked for, separated by spaces.")
    identity_claims: str = Field(
        default='{"subject": "sub", "number": "SoDinhDanh", "name": "HoVaTen", "level": "acr"}',
        description="JSON: which claim is the subject, national number, name, level, e-mail; the default is VNeID's.",
    )
    identity_levels: str = Field(
        default="",
        description="Values of the level claim that are good enough, separated by commas; empty means any, in training alone.",
    )
    identity_official_levels: str = Field(
        default="", description="The same for officials and clerks; empty means as identity_levels."
    )
    identity_userinfo: str = Field(
        default="",
        description="Empty: the ID token says all. post: user info, token in the body. query:NAME or query:NAME:URL: in the URL.",
    )
    enrol_delay_hours: int = Field(
        default=24, ge=0, le=720, description="Hours before a phone enrolled by a weaker proof, or again, is usable."
    )
    enrol_portal_levels: str = Field(
        default="",
        description="Assurance levels at which a portal's word on a citizen's identity is taken, separated by commas; empty: never.",
    )
    mail_host: str = Field(
        default="", description="SMTP relay for codes and notices; empty: none, in training a folder under home."
    )
    mail_port: int = Field(default=587, ge=1, le=65_535, description="Port of the relay.")
    mail_starttls: bool = Field(default=True, description="Whether STARTTLS is required of the relay.")
    mail_user: str = Field(default="", description="User name at the relay; empty means none.")
    mail_password: SecretStr | None = Field(default=None, description="Password at the relay.")
    mail_from: str = Field(default="", description="Sender's address of codes and notices; empty means no-reply@host.")
    log_level: str = Field(default="warning", description="Structured logs: debug, info, warning or error.")
    provider_url: str = Field(
        default="", description="Base address of a remote-signing service in SP769's dialect; empty means none."
    )
    provider_name: str = Field(
        default="sp769", description="How that service is called here; part of records and of its hint address."
    )
    provider_sp_id: str = Field(default="", description="Our name at that service.")
    provider_sp_password: SecretStr | None = Field(
        default=None, description="Our password there; only the signer process may see it."
    )
    provider_anchors: Path | None = Field(
        default=None, description="PEM file of roots that certificates of remote-signing services must lead to."
    )
    keys_agency: str = Field(
        default="",
        description="Code of the agency whose administrators decide about the realm's own keys (root, log, time stamps …); unset it is the only agency, and nobody where there are several.",
    )
    language: str = Field(default="vi", description="First language of the command line: vi or en.")
    keys: Literal["software", "transit", "pkcs11"] = Field(
        default="software", description="Store in which new keys are made; older keys stay in the store they name."
    )
    transit_mounts: str = Field(
        default="transit",
        description="Transit mounts in OpenBao or Vault, separated by commas; new keys are spread over them by name.",
    )
    vault_url: str = Field(
        default="", description="Address of OpenBao or Vault; https, or http on this machine alone. Empty means none."
    )
    vault_namespace: str = Field(default="", description="Namespace there; empty means the root.")
    vault_ca_file: Path | None = Field(
        default=None, description="PEM file of roots that its certificate must lead to; empty means the public ones."
    )
    vault_login: Literal["approle", "kubernetes", "cert", "token"] = Field(
        default="approle", description="How this process logs in there."
    )
    vault_mount: str = Field(default="", description="Path of that auth method; empty means its usual one.")
    vault_role: str = Field(
        default="", description="Role there; with approle the one whose path a wrapped secret id must come from."
    )
    vault_role_id: str = Field(default="", description="Role id of approle.")
    vault_secret_id_file: Path | None = Field(
        default=None, description="File with the wrapping token of a secret id; removed once it was used."
    )
    vault_wrapped: bool = Field(
        default=True, description="Whether that file holds a wrapping token; false: the secret id itself."
    )
    vault_enroller_role: str = Field(
        default="", description="Role of the identity that makes keys there; empty: the signer's own makes them."
    )
    vault_enroller_role_id: str = Field(default="", description="Its role id, with approle.")
    vault_enroller_secret_id_file: Path | None = Field(
        default=None, description="Its secret id or the wrapping token of one, with approle."
    )
    vault_custodian_role: str = Field(
        default="",
        description="Role of the identity that ends keys there, while there is one; empty: no key can be ended.",
    )
    vault_custodian_role_id: str = Field(default="", description="Its role id, with approle.")
    vault_custodian_secret_id_file: Path | None = Field(
        default=None, description="Its secret id or the wrapping token of one, with approle."
    )
    vault_jwt_file: Path | None = Field(
        default=None, description="Projected token of a Kubernetes pod (or another JWT); read at each login."
    )
    vault_cert_file: Path | None = Field(default=None, description="Client certificate (PEM) shown to the store.")
    vault_key_file: Path | None = Field(default=None, description="Its private key (PEM).")
    vault_token_file: Path | None = Field(
        default=None, description="File in which an agent keeps a token fresh; read at each login."
    )

    pkcs11_module: Path | None = Field(
        default=None, description="Shared library of the PKCS#11 token's maker; worker processes alone load it."
    )
    pkcs11_token: str = Field(default="", description="Label of the PKCS#11 token.")
    pkcs11_pin_file: Path | None = Field(
        default=None, description="File with the token's user PIN; read by the worker processes alone."
    )
    pkcs11_workers: int = Field(
        default=2, ge=1, le=64, description="Worker processes of the PKCS#11 token, each with one session."
    )

    audit_files: str = Field(
        default="",
        description="The key store's audit files, one a server, separated by commas: what `dauso audit keys` reads.",
    )
    audit_device: str = Field(
        default="to-file", description="Name of the audit device in OpenBao or Vault that writes those files."
    )
    audit_signers: str = Field(
        default="dauso-signer",
        description="Who may sign there: entity ids, role or display names as that file shows them, separated by commas.",
    )

    @property
    def database(self) -> str:
        """The URL in force."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home.resolve() / 'db' / 'dauso.db'}"

    @property
    def jobs_database(self) -> str:
        """Where unfinished work is noted: with ours on PostgreSQL; on SQLite a file of its own, since each has one writer."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home.resolve() / 'jobs.db'}"

    @property
    def worker_database(self) -> str:
        """The worker's unfinished work: on SQLite a file of its own again, beside the one it may write."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home.resolve() / 'db' / 'worker.db'}"

    @property
    def url(self) -> str:
        """The public door's address in force, without a final slash."""
        return (self.web_url or f"https://{self.host}").rstrip("/")

    @property
    def pki_base(self) -> str:
        """What certificates name: plain http, since fetching a list by https would need a list first."""
        return (self.pki_url or f"http://{self.host}").rstrip("/")

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered."""
        return frozenset({self.host, *(h.strip().lower() for h in self.web_hosts.split(",") if h.strip())})

    @property
    def socket(self) -> Path:
        """The signer's socket in force."""
        return self.signer_socket or self.home.resolve() / "run" / "signer.sock"

    @property
    def web_key(self) -> Path:
        """The web process's key file in force."""
        return self.web_key_file or self.home / "web-key"

    @property
    def people_key(self) -> Path:
        """The signer's key file for what it knows about people, in force."""
        return self.people_key_file or self.home / "people-key"

    @property
    def origin(self) -> str:
        """The log's origin in force."""
        return self.log_origin or f"{self.host}/log"
