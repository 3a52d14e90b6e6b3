"""Keys in encrypted files: the embedded default. Not for production, and it says so wherever it shows.

One file a key, AES-256-GCM; name, version, purpose and algorithm are authenticated with it, so files cannot be swapped.
The file key comes from a passphrase (scrypt) or a 32-byte key file (HKDF). Key objects stay in memory once opened.
"""

import os
import re
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from core.errors import BadInput, Broken, Conflict, NotFound, Refused, Unavailable
from core.ids import random_bytes
from core.values import SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore, spki_of
from signer.keystores.model import Health, KeyPurpose, KeyRef

__all__ = ["SoftwareKeyStore", "make_key_file"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def make_key_file(path: Path) -> None:
    """32 random bytes, mode 0600, never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(random_bytes(32))
        file.flush()
        os.fsync(file.fileno())


class SoftwareKeyStore(MemoryKeyStore):
    """Satisfies ``KeyStore``."""

    name = "software"

    def __init__(self, folder: Path, *, key_file: bytes | None = None, passphrase: str | None = None) -> None:
        """Exactly one of a 32-byte ``key_file`` or a ``passphrase``. Raises ``key.no_secret``."""
        super().__init__()
        if (key_file is None) == (passphrase is None) or (key_file is not None and len(key_file) != 32):
            raise Refused("key.no_secret")
        if passphrase is not None and not passphrase.strip():
            raise Refused("key.no_secret")
        self._folder = folder
        self._secret = key_file or (passphrase or "").encode()
        self._is_passphrase = passphrase is not None

    def __repr__(self) -> str:
        return f"SoftwareKeyStore({str(self._folder)!r})"

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key in a new file. Raises ``key.bad_input`` for a name that is no file name."""
        ref = KeyRef(store=self.name, name=name, version=1, purpose=purpose, algorithm=algorithm, spki=b"")
        if self._is_disabled(ref):  # a destroyed key leaves its marker: the name is never given again
            raise Conflict("key.exists", key=name)
        return await super().create(name, purpose, algorithm)

    def _path(self, ref: KeyRef) -> Path:
        if not _NAME.fullmatch(ref.name):  # references come from a table; none may lead out of the folder
            raise BadInput("key.bad_input")
        return self._folder / f"{ref.name}.v{ref.version}.key"

    def _file_key(self, salt: bytes) -> bytes:
        if self._is_passphrase:
            return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(self._secret)
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=b"dauso/software-key/v1").derive(self._secret)

    async def _keep(self, ref: KeyRef, key: Any) -> None:
        plain = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        salt, nonce = random_bytes(16), random_bytes(12)
        blob = salt + nonce + AESGCM(self._file_key(salt)).encrypt(nonce, plain, ref.binding)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(self._path(ref), blob)
        except FileExistsError as error:
            raise Conflict("key.exists", key=ref.name) from error
        except OSError as error:
            raise Unavailable("key.unavailable", key=ref.name) from error
        await super()._keep(ref, key)

    def _write(self, path: Path, blob: bytes) -> None:
        """Whole and durable under its name, or not there at all; never over another file."""
        draft = path.with_suffix(f".{random_bytes(8).hex()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        finally:
            draft.unlink()
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _load(self, ref: KeyRef) -> Any:
        key = self._opened(ref)
        if key is not None:
            return key
        try:
            blob = self._path(ref).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("key.missing", key=ref.name) from error
        except OSError as error:
            raise Unavailable("key.unavailable", key=ref.name) from error
        try:
            plain = AESGCM(self._file_key(blob[:16])).decrypt(blob[16:28], blob[28:], ref.binding)
            key = serialization.load_der_private_key(plain, None)
        except (InvalidTag, ValueError) as error:
            raise Broken("key.damaged", key=ref.name) from error
        self._keys[ref.name, ref.version] = key, ref.binding
        return key

    def _is_disabled(self, ref: KeyRef) -> bool:
        return self._path(ref).with_suffix(".disabled").exists()

    def reveal(self, ref: KeyRef) -> Any:
        """The private key, for the one ceremony that moves it into another store. No other store has this.

        Raises ``key.missing``, ``key.disabled``, ``key.unavailable``, ``key.damaged`` (another secret, or another key).
        """
        key = self._load(ref)
        if self._is_disabled(ref):
            raise Refused("key.disabled", key=ref.name)
        if spki_of(key) != ref.spki:
            raise Broken("key.damaged", key=ref.name)
        return key

    async def health(self) -> Health:
        """Whether the folder can be read and written."""
        good = os.access(self._folder, os.R_OK | os.W_OK | os.X_OK) or not self._folder.exists()
        return Health(state="open" if good else "unreachable", detail="encrypted files, not for production")

    async def disable(self, ref: KeyRef) -> None:
        """No use from now on; a marker file beside the key."""
        self._load(ref)
        try:
            self._path(ref).with_suffix(".disabled").touch(mode=0o600)
            self._sync_folder()
        except OSError as error:
            raise Unavailable("key.unavailable", key=ref.name) from error

    async def destroy(self, ref: KeyRef) -> None:
        """The file is overwritten once and removed."""
        await super().destroy(ref)
        path = self._path(ref)
        try:
            with path.open("r+b") as file:
                file.write(random_bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            self._sync_folder()
        except FileNotFoundError as error:
            raise NotFound("key.missing", key=ref.name) from error
        except OSError as error:
            raise Unavailable("key.unavailable", key=ref.name) from error
