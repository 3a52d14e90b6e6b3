"""The table of what two administrators can decide."""

from typing import Final

from core.errors import BadInput
from signer.decisions.books import CloseBook, EndClient, GrantClient, OpenBook
from signer.decisions.key_moves import MoveKey
from signer.decisions.key_rules import ResumeKey, RuleKey
from signer.decisions.key_stores import ChangePolicy, ImportKey
from signer.decisions.keys import DestroyKey, DisableKey
from signer.decisions.people import AddPerson, EndRole, GiveRole, IdentifyPerson, SuspendPhone
from signer.decisions.room import Kind
from signer.decisions.templates import ChangeSeal, ChangeWording

__all__ = ["KINDS", "kind_of"]

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        AddPerson(), IdentifyPerson(), GiveRole(), EndRole(), SuspendPhone(), ChangeWording(), ChangeSeal(), OpenBook(), CloseBook(),
        GrantClient(), EndClient(), DisableKey(), ResumeKey(), RuleKey(), DestroyKey(), ImportKey(), MoveKey(),
        ChangePolicy(),
    )
}  # fmt: skip


def kind_of(name: str) -> Kind:
    """By name. Raises ``decision.unknown_kind``."""
    kind = KINDS.get(name)
    if kind is None:
        raise BadInput("decision.unknown_kind")
    return kind
