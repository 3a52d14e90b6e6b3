"""OpenBao or HashiCorp Vault: the one session for key stores, PKI and audit.

=============  ===============================================================================
``config``     where it is and how we log in
``wire``       threads with an hvac adapter each; what became of a call
``answers``    what a reply means, in our errors
``breaker``    when not to ask
``logins``     AppRole with a wrapped secret id, Kubernetes or JWT, certificate, token file
``session``    ``Vault``: all of it together
=============  ===============================================================================

Every ``Unavailable`` but ``vault.outcome_unknown`` means that nothing was done.
"""

from core.vault.answers import Answer
from core.vault.capabilities import Capabilities
from core.vault.config import AppRole, Cert, Kubernetes, Login, TokenFile, VaultConfig, config_of
from core.vault.session import Vault, VaultHealth

__all__ = [
    "Answer",
    "AppRole",
    "Capabilities",
    "Cert",
    "Kubernetes",
    "Login",
    "TokenFile",
    "Vault",
    "VaultConfig",
    "VaultHealth",
    "config_of",
]
