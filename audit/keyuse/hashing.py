"""How the audit file shows a value: only the server can say (``sys/audit-hash/<device>``), so answers are kept.

Each question is a call that is audited itself, two lines each. So nothing is asked twice that was asked lately, and only
what our side wrote down is asked for: never what stands in the file.
"""

import asyncio
import base64
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from core.errors import Broken
from core.limits import LIMITS

__all__ = ["AuditHash", "Hashes", "read_hmac"]

AuditHash = Callable[[str], Awaitable[str]]
"""A string → ``hmac-sha256:…`` as one device shows it. Raises ``vault.*``."""

_FORM = re.compile(r"hmac-sha256:([0-9a-f]{64})")


def read_hmac(value: object) -> bytes | None:
    """32 bytes, or None for anything that is not ``hmac-sha256:`` and 64 digits."""
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else bytes.fromhex(found[1])


class Hashes:
    """Of inputs: what is asked for is their standard base64, the way they are sent to transit."""

    def __init__(self, ask: AuditHash, *, at_once: int | None = None, keep: int | None = None) -> None:
        self._ask = ask
        self._free = asyncio.Semaphore(at_once or LIMITS["keyuse.hash_at_once"])
        self._keep = keep or LIMITS["keyuse.hash_kept"]
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._texts: dict[str, str] = {}
        self.asked = 0
        """Questions put to the server."""

    async def of(self, inputs: list[bytes]) -> list[bytes]:
        """In order. Raises ``vault.*``, ``keyuse.no_hash``."""
        found = {value: self._known[value] for value in inputs if value in self._known}
        missing = [value for value in dict.fromkeys(inputs) if value not in found]
        for at in range(0, len(missing), 1_000):
            piece = missing[at : at + 1_000]
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(value)) for value in piece]
            except ExceptionGroup as failed:  # one cause: the rest was called off
                raise failed.exceptions[0] from None
            found.update(zip(piece, (task.result() for task in tasks), strict=True))
        for value in inputs:
            self._known[value] = found[value]
            self._known.move_to_end(value)
        while len(self._known) > self._keep:
            self._known.popitem(last=False)
        return [found[value] for value in inputs]

    async def shown(self, value: Any, *, numbers: bool = False) -> Any:
        """A call's body as the file has it: every string in it hidden. Few and the same are asked for. Raises as ``of``.

        ``numbers``: hidden too, as Vault does with those of a request.
        """
        if numbers and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            if value not in self._texts:
                self._texts[value] = f"hmac-sha256:{(await self._hidden(value)).hex()}"
            return self._texts[value]
        if isinstance(value, list):
            return [await self.shown(each, numbers=numbers) for each in value]
        if isinstance(value, dict):
            return {name: await self.shown(each, numbers=numbers) for name, each in value.items()}
        return value

    async def _one(self, value: bytes) -> bytes:
        return await self._hidden(base64.b64encode(value).decode())

    async def _hidden(self, text: str) -> bytes:
        async with self._free:
            self.asked += 1
            said = read_hmac(await self._ask(text))
        if said is None:
            raise Broken("keyuse.no_hash")
        return said
