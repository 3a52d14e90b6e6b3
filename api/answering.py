"""What the signer answers at its inner door: the table of questions that the web process may ask."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from api.bootstrap import Service
from api.checking import Checker
from api.inner import Handler
from api.pki import pki_handlers
from api.questions import decisions, desk, enrol, providers, requests
from core.limits import LIMITS
from signer.reports.sheet import CheckedFile

__all__ = ["handlers"]


def handlers(service: Service) -> dict[str, Handler]:
    """By name. None of them opens a key of a person or a seal: those wait for an approval."""

    async def wake(_: Mapping[str, Any], __: bytes) -> bytes:
        service.reception.bell.set()
        service.parts().batches.bell.set()
        return b""

    async def rest(words: Mapping[str, Any], _: bytes) -> bytes:
        """Hold the line until nothing more happens to a copy by itself."""
        await service.reception.rest(str(words["copy"]), min(float(words["seconds"]), LIMITS["web.wait_seconds"]))
        return b""

    async def recall(words: Mapping[str, Any], _: bytes) -> bytes:
        copy = await service.recalls.recall(  # named one by one: the brake is not the web's to let go
            copy=str(words["copy"]), reason=str(words["reason"]), by=str(words["by"]), successor=words.get("successor"),
            since=words.get("since"),
        )  # fmt: skip
        return json.dumps({"recalled_at": copy.recalled_at}, default=str).encode()

    checker = Checker.of(service)

    async def report(words: Mapping[str, Any], body: bytes) -> bytes:
        """Checked here, from the bytes: what the web process thinks of a file is never signed."""
        found = await checker.check(body)
        file = await asyncio.to_thread(CheckedFile.of, str(words["name"]), body)
        return await service.parts().sheets.issue(found, file)

    async def stores(_: Mapping[str, Any], __: bytes) -> bytes:
        keys = service.parts().store
        health = await keys.health()
        return json.dumps({"state": health.state, "not_for_production": keys.not_for_production}).encode()

    async def doctor(_: Mapping[str, Any], __: bytes) -> bytes:
        from api.doctor_keys import KeyDoctor  # noqa: PLC0415 - a tenth of a second that no start need wait for

        keys = KeyDoctor(
            settings=service.settings, realm=service.realm, clock=service.clock, db=service.db, keys=service.parts().store
        )  # fmt: skip
        return json.dumps(await keys.examine()).encode()

    return {
        "keys.doctor": doctor, "stores": stores, "wake": wake, "rest": rest, "recall": recall, "report": report, **pki_handlers(service),
        **requests.handlers(service), **desk.handlers(service), **decisions.handlers(service),
        **enrol.handlers(service), **providers.handlers(service.parts().providers),
    }  # fmt: skip
