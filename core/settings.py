"""All settings in one table; environment variables ``DAUSO_…``. Importing reads nothing.

``docs/reference/settings.md`` lists them; a test compares.
"""

from pathlib import Path

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
    executor_id: str = Field(
        default="local", description="Stable name of this process for recovery of unfinished work."
    )
    log_level: str = Field(default="warning", description="Structured logs: debug, info, warning or error.")
    language: str = Field(default="vi", description="First language of the command line: vi or en.")

    @property
    def database(self) -> str:
        """The URL in force."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home.resolve() / 'dauso.db'}"

    @property
    def jobs_database(self) -> str:
        """Where unfinished work is noted: with ours on PostgreSQL; on SQLite a file of its own, since each has one writer."""
        return self.database_url or f"sqlite+aiosqlite:///{self.home.resolve() / 'jobs.db'}"

    @property
    def origin(self) -> str:
        """The log's origin in force."""
        return self.log_origin or f"{self.host}/log"
