"""A real HashiCorp Vault with what ``tests.openbao`` gives: opened with a key of its own, set up by calls.

Not part of the ordinary run, since Vault is not free software any more: where ``DAUSO_TEST_VAULT`` names its program the
session's server is this one, and every test of that server is a test of Vault.
"""

import os
from typing import Any

from tests.openbao import ALL, AUDIT, OpenBao, wait_until

CONFIG = """
disable_mlock = true
log_level = "warn"
api_addr = "{url}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
}}
storage "raft" {{
  path = "{folder}/data"
  node_id = "{node}"
  performance_multiplier = 1
}}
"""


def vault_binary() -> str | None:
    """Named on purpose, never found by chance."""
    return os.environ.get("DAUSO_TEST_VAULT") or None


def server_kind() -> type[OpenBao]:
    """What the session's server is, for who starts one of his own."""
    return OpenBao if vault_binary() is None else Vault


class Vault(OpenBao):
    """One node without TLS."""

    product = "vault"

    @staticmethod
    def _program() -> str | None:
        return vault_binary()

    def _write(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "server.hcl").write_text(
            CONFIG.format(
                url=self.url, port=self.port, cluster_port=self.cluster_port, folder=self.folder, node=self.node
            )
        )

    def wait_ready(self) -> None:
        """Made and opened, and at its first start set up."""
        wait_until(lambda: self.health() != 0, "Vault answers")
        root = ""
        if self.health() == 501:
            made = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
            root = made["root_token"]
            self.seal_key.write_text(made["keys_base64"][0])
            self.seal_key.chmod(0o600)
        self.api("PUT", "sys/unseal", {"key": self.seal_key.read_text()}, token="")
        wait_until(lambda: self.health() == 200, "Vault is active")
        if root:
            self._set_up(root)
        super().wait_ready()

    def _set_up(self, root: str) -> None:
        """As the set-up in OpenBao's configuration does; then nobody has the root token."""

        def put(path: str, body: dict[str, Any]) -> None:
            self.api("PUT", path, body, token=root)

        put(f"sys/audit/{AUDIT}", {"type": "file", "options": {"file_path": str(self.audit_file)}})
        everything = ALL.replace(', "scan"', "")  # a word of OpenBao's
        put("sys/policies/acl/admin", {"policy": f'path "*" {{ capabilities = {everything} }}'})
        put("sys/auth/userpass", {"type": "userpass"})
        put("auth/userpass/users/admin", {"password": self.password, "token_policies": ["admin"], "token_ttl": "24h"})
        put("sys/auth/approle", {"type": "approle"})
        put("sys/mounts/transit", {"type": "transit"})
        put("auth/token/revoke-self", {})
