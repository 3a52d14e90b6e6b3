"""Questions about decisions: a proposal, and the link by which an administrator gets to vote on it; and findings of keys.

Neither gives anything. A proposal waits for two answers that come by the signer's own door, each from the passkey of an
administrator; the link only leads there. Who may is judged here from the tables that the web process cannot write.
"""

import json
from collections.abc import Mapping
from typing import Any

from api.bootstrap import Service
from api.inner import Handler
from core.errors import BadInput
from signer.links import make_link

__all__ = ["handlers"]


def handlers(service: Service) -> dict[str, Handler]:
    """By name: ``decision.propose``, ``link.decision``, ``finding.look``."""

    async def propose(words: Mapping[str, Any], body: bytes) -> bytes:
        """Words: ``agency``, ``kind``, ``by``; the body is the payload as JSON. The answer names the decision."""
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadInput("decision.malformed") from error
        if not isinstance(payload, dict):
            raise BadInput("decision.malformed")
        made = await service.parts().decisions.propose(
            agency_id=str(words["agency"]), kind=str(words["kind"]), payload=payload, proposed_by=str(words["by"])
        )
        return json.dumps({"decision": made}).encode()

    async def link(words: Mapping[str, Any], _: bytes) -> bytes:
        """Words: ``decision``, ``person``. The answer is the address on the signing origin and its end."""
        async with service.db.write() as uow:
            person = str(words["person"])
            decision = await service.parts().decisions.require_voter(uow, str(words["decision"]), person)
            token = await make_link(
                uow, service.clock, kind="decision", subject=[decision.id], person_id=person,
                expires_at=decision.expires_at,
            )  # fmt: skip
        url = f"{service.settings.sign_url.rstrip('/')}/s/{token}"
        return json.dumps({"url": url, "expires": decision.expires_at.isoformat()}).encode()

    async def look(words: Mapping[str, Any], body: bytes) -> bytes:
        """Words: ``agency``, ``finding``, ``by``; the body says why. The finding stays; it is said who looked at it."""
        await service.parts().findings.look(
            agency_id=str(words["agency"]), finding=str(words["finding"]), person_id=str(words["by"]),
            why=body.decode(errors="replace"),
        )  # fmt: skip
        return b""

    return {"decision.propose": propose, "link.decision": link, "finding.look": look}
