"""What a command logs in with at OpenBao or Vault: wrapped secret ids of its own ("cards"), each good once.

A signer that runs has used its own up, and one that starts needs the ones that were laid for it. A command takes neither.
``dauso keys init --hand-over …`` writes cards into files that have their role's name; that name says at which path of the
server a card was made, and a card made elsewhere is a theft.
"""

import re
from pathlib import Path
from typing import Any

from api.keystores import spends_secret_ids
from core.errors import BadInput, Refused
from core.settings import Settings
from signer.keystores.policies import Identity

__all__ = ["card", "own_login", "role_of"]

_SUFFIX = ".secret-id"


def card(folder: Path, role: str) -> Path:
    """Where ``keys init`` writes a role's."""
    return folder / f"{role}{_SUFFIX}"


def role_of(file: Path, identity: Identity) -> str:
    """The role whose card this is, an agency's own too, told by the file's name.

    Raises ``keys.other_card`` where it is another identity's or nobody's, ``keys.no_card`` where it is not there.
    """
    role = file.name.removesuffix(_SUFFIX)
    if not file.name.endswith(_SUFFIX) or not re.fullmatch(rf"dauso-{identity}(-[a-z0-9-]+)?", role):
        raise BadInput("keys.other_card", file=file.name, role=f"dauso-{identity}")
    return _require(file).name.removesuffix(_SUFFIX)


def own_login(settings: Settings, cards: Path | None) -> Settings:
    """The settings with which a command opens the stores. ``cards``: the folder of its own.

    Raises ``keys.needs_cards``, ``keys.no_card``, ``vault.not_configured``; nothing where opening uses up nothing.
    """
    if not spends_secret_ids(settings):
        return settings
    if cards is None:
        raise Refused("keys.needs_cards")
    if not settings.vault_role:
        raise BadInput("vault.not_configured", what="vault_role")
    own: dict[str, Any] = {"vault_secret_id_file": _require(card(cards, settings.vault_role))}
    if settings.vault_enroller_role:
        own["vault_enroller_secret_id_file"] = _require(card(cards, settings.vault_enroller_role))
    # whoever ends keys is handed out for one act: see ``role_of``
    own |= {"vault_custodian_role": "", "vault_custodian_role_id": ""}
    return settings.model_copy(update=own)


def _require(file: Path) -> Path:
    if not file.is_file():
        raise BadInput("keys.no_card", file=str(file))
    return file
