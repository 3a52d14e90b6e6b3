"""Questions about remote-signing services: somebody says that something happened to a transaction."""

import re
from collections.abc import Mapping
from typing import Any, Final

from api.inner import Handler
from signer.providers.desk import ProviderDesk

__all__ = ["handlers"]

_NAME: Final = re.compile(r"[0-9a-f]{32}")
"""Our names of transactions; nothing else is looked for."""


def handlers(desk: ProviderDesk) -> dict[str, Handler]:
    """By name: ``provider.hint``. It makes the signer ask the service; what the caller said is used for nothing else."""

    async def hint(words: Mapping[str, Any], _: bytes) -> bytes:
        name = str(words.get("transaction", ""))
        if _NAME.fullmatch(name):
            desk.hint(str(words.get("provider", "")), name)
        return b""

    return {"provider.hint": hint}
