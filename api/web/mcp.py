"""``/mcp``: assistants ask for people (Model Context Protocol, Streamable HTTP, stateless, JSON answers). Read only.

* The sentences are those of the citizen's page, and so are the limits: the gate counts a call like any check by code.
* A code alone never makes a paper genuine (ADR 3): the answer says what to compare.
* Unknown, malformed and not released are one answer. No person is named, no file opened, nothing kept or logged.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.web import answers
from api.web.access import open_to_anyone
from api.web.lookup import Found, by_code
from api.web.parts import WebParts
from core.errors import ServiceError
from core.limits import LIMITS
from core.messages import sentence
from signer.copies import store
from signer.copies.inbox import Inbox
from signer.copies.words import words_of

__all__ = ["route"]

Said = dict[str, Any]
_RESTING: Final = frozenset({"awaiting_certifier", "awaiting_seal", "released", "voided"})


def _say(state: str, *codes: str, **values: Any) -> Said:
    """A state with its sentences in both languages."""
    vi, en = (" ".join(sentence(c, language, **values).rstrip(".") + "." for c in codes) for language in ("vi", "en"))
    return {"state": state, "sentence": vi, "sentence_en": en}


# ----------------------------------------------------------------------------------------------------------- tools
async def check_code(parts: WebParts, code: str) -> Said:
    """What the register says about the code printed on a paper."""
    found = await by_code(parts.service.db, code)
    if found is None:
        return _say("invalid", "page.say_invalid", "page.why_no_such_code")
    facts = answers.facts_json(found)
    if found.recalled is not None:
        return {**_recalled(found), "facts": facts}
    return {**_say("valid", "page.say_valid", "page.caution"), "facts": facts, "recall": None}


def _recalled(found: Found) -> Said:
    assert found.recalled is not None
    recall = {
        "at": found.recalled.at.isoformat(),
        "reason": found.recalled.reason,
        "successor": found.recalled.successor,
    }
    return {**_say("revoked", "page.say_revoked", day=answers.date_text(found.recalled.at)), "recall": recall}


async def check_file_digest(parts: WebParts, sha256: str) -> Said:
    """Whether a file, byte for byte, is one that was released."""
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        digest = b""
    copy = await parts.service.facts.by_file(digest, [])
    if copy is None or digest not in copy.released_digests:
        return _say("unknown", "mcp.digest_unknown")
    facts = {
        "number": copy.number,
        "agency": copy.agency_name,
        "agency_code": copy.agency_code,
        "realm": copy.realm.value,
    }
    if copy.recalled is not None:
        recall = {
            "at": copy.recalled.at.isoformat(),
            "reason": copy.recalled.reason,
            "successor": copy.recalled.successor,
        }
        said = _say("revoked", "page.say_revoked", day=answers.date_text(copy.recalled.at))
        return {**said, "facts": facts, "recall": recall}
    return {**_say("released", "mcp.digest_released"), "facts": facts, "recall": None}


async def state_of_request(parts: WebParts, handle: str) -> Said:
    """How far a request has come, for who holds its handle."""
    request_id = parts.handles.read(handle) or "-"
    async with parts.service.db.read() as uow:
        copy = await store.find(uow, request_id)
        request = await Inbox(parts.service.clock).find(uow, request_id)
    if copy is not None:
        state = "recalled" if copy.recalled_at else copy.state if copy.state in _RESTING else "at_work"
    elif request is not None:
        state = "refused" if request.state == "refused" else "waiting"
    else:
        state = "unknown"
    return _say(state, f"mcp.state_{state}")


async def which_office_certifies(parts: WebParts, query: str) -> Said:
    """Agencies by words of their name or by code, with validity and successor; nobody who works there."""
    async with parts.service.db.read() as uow:
        everything = await parts.service.directory.agencies(uow)
    names, asked = {a.id: a.name for a in everything}, words_of(query[:100])
    now = parts.service.clock.now()
    found = [a for a in everything if set(asked) <= set(words_of(f"{a.name} {a.parent} {a.code}"))]
    shown = [
        {"code": a.code, "name": a.name, "parent": a.parent, "realm": a.realm.value, "valid_from": _day(a.valid_from),
         "valid_to": _day(a.valid_to), "successor": names.get(a.successor_id or ""),
         "active": a.valid_from <= now and (a.valid_to is None or now < a.valid_to)}
        for a in found[: LIMITS["mcp.offices"]]
    ]  # fmt: skip
    return {**_say("found" if shown else "unknown", "mcp.offices" if shown else "mcp.no_office"), "offices": shown}


def _day(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat()


@dataclass(frozen=True, slots=True)
class _Tool:
    work: Callable[[WebParts, str], Awaitable[Said]]
    argument: str

    def described(self) -> types.Tool:
        name = self.work.__name__
        argument = {"type": "string", "description": sentence(f"mcp.arg_{self.argument}", "en")}
        said = {"state": {"type": "string"}, "sentence": {"type": "string"}, "sentence_en": {"type": "string"}}
        return types.Tool(
            name=name, title=sentence(f"mcp.{name}", "vi"), description=sentence(f"mcp.{name}", "en"),
            input_schema={"type": "object", "properties": {self.argument: argument}, "required": [self.argument]},
            output_schema={"type": "object", "properties": said, "required": list(said)},
            annotations=types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
        )  # fmt: skip


_TOOLS: Final = {
    t.work.__name__: t
    for t in (
        _Tool(check_code, "code"), _Tool(check_file_digest, "sha256"), _Tool(state_of_request, "handle"),
        _Tool(which_office_certifies, "query"),
    )
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ door
def _server(parts: WebParts) -> Server[Any]:
    async def listed(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.described() for tool in _TOOLS.values()])

    async def called(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        tool = _TOOLS.get(asked.name)
        given = (asked.arguments or {}).get(tool.argument) if tool else None
        if tool is None or not isinstance(given, str):
            return _answer({"code": "mcp.bad_call", **_say("error", "mcp.bad_call")}, wrong=True)
        try:
            said = await tool.work(parts, given)
        except ServiceError as error:
            said = {"state": "error", "code": error.code, "sentence": error.say("vi"), "sentence_en": error.say("en")}
            return _answer(said, wrong=True)
        return _answer({**said, "checked_at": parts.service.clock.now().isoformat()})

    return Server(
        "dauso", version="1", title=sentence("mcp.title"), instructions=sentence("mcp.instructions", "en"),
        on_list_tools=listed, on_call_tool=called,
    )  # fmt: skip


def _answer(said: Said, *, wrong: bool = False) -> types.CallToolResult:
    text = f"{said['sentence']}\n{said['sentence_en']}"
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=said, is_error=wrong
    )


class _Passed(Response):
    """Hands the request to the protocol's own code. A manager a request: none of them keeps anything, or needs a lifespan."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._manager.run():
            await self._manager.handle_request(scope, receive, send)


async def _mcp(request: Request) -> Response:
    parts: WebParts = request.app.state.parts
    if not hasattr(request.app.state, "mcp"):
        request.app.state.mcp = _server(parts)
    hosts = [form for host in parts.service.settings.hosts for form in (host, f"{host}:*")]
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[parts.base_url])
    return _Passed(
        StreamableHTTPSessionManager(
            request.app.state.mcp, json_response=True, stateless=True, security_settings=security
        )
    )


route = open_to_anyone("/mcp", _mcp, "POST")
