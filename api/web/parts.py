"""What the web process works with, for routes: ``parts: Parts``."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from api.bootstrap import Service
from api.checking import Checker
from api.clients.store import Clients
from api.inner import SignerDoor
from api.web.handles import Handles
from api.web.metrics import Metrics
from api.web.pace import Pace
from core.sealed import Box

__all__ = ["Parts", "WebParts", "parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebParts:
    """Held by the process; holds no key of a person, a seal or a service."""

    service: Service
    checker: Checker
    signer: SignerDoor
    clients: Clients
    pace: Pace
    metrics: Metrics
    box: Box
    """Encryption at rest of webhook secrets."""
    answers: Box
    """Encryption at rest of answers kept for repetition."""
    handles: Handles
    templates: Any
    base_url: str
    """How people reach the public door, without a final slash; never taken from a request."""


async def parts(request: Request) -> WebParts:
    """From the application's state; a coroutine, since a plain function would cost a thread."""
    found: WebParts = request.app.state.parts
    return found


Parts = Annotated[WebParts, Depends(parts)]
