"""Keys in the transit engine of OpenBao or Vault: private keys never leave the server.

``naming`` ties a key's name to its purpose and algorithm, ``answers`` builds requests and reads answers (no I/O),
``gathering`` joins calls that wait for the same key, ``store`` is the ``KeyStore``.
"""

from signer.keystores.transit.naming import mounts_of
from signer.keystores.transit.store import TransitKeyStore

__all__ = ["TransitKeyStore", "mounts_of"]
