"""What one visitor practises with: an invented person, papers that a portal would send, and how far each has come.

Nothing here is a way around a check. The guide is a portal like any other: a client of its own lays the requests and asks
for the links by the same questions, and all that is approved is approved on the signing pages. What a visitor has is
kept by the visitor, sealed; two visitors share nothing.
"""

import asyncio
import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from fastapi import Request, Response

from api.clients.model import Caller, Client, Scope
from api.portal.request_schemas import AtAnchor, NewPersonIn, PdfIn, SignatureRequestIn, SignerIn
from api.portal.request_views import own
from api.portal.uploads import keep_file
from api.secrets import web_key
from api.training.paper import SIGNED_BY, application
from api.web.parts import WebParts
from core.errors import NotFound, ServiceError, Unavailable
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.messages import sentence
from core.sealed import Box
from core.settings import Settings
from signer.requests.model import RequestView

__all__ = ["PAPERS", "PORTAL", "Keeper", "Paper", "Practice", "Standing", "begin", "standing", "with_strange_paper"]

PORTAL: Final = "Trang tập huấn / Training page"
"""Name of the guide's client: what people read on the phone as who asks."""
PAPERS: Final = {"sign": "residence", "refuse": "loan"}
"""Which paper is laid at which step."""
_SHOWN_CODE: Final = frozenset({"open", "approved"})
_COOKIE: Final = "dauso-training"
_PATH: Final = "/training"
_TRIES: Final = 3
_MOMENT: Final = 10
"""Letters of an id that are its time (``core.ids.new_id``)."""


# ------------------------------------------------------------------------------------------------------------ values
@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A request and the link to its one step."""

    request: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """All that a visitor has."""

    number: str
    name: str
    person: str
    enrol: str
    """Link to enrolment, which goes on to the paper that waits."""
    sign: Paper
    refuse: Paper | None = None

    def to_bytes(self) -> bytes:
        """For sealing."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Back."""
        value = json.loads(data)
        papers = {step: None if value[step] is None else Paper(**value[step]) for step in PAPERS}
        return cls(**{**value, **papers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a practice is. Papers: ``none``, ``ready``, ``opened``, ``approved``, ``completed``, ``refused``, ``over``."""

    phone: str
    """``none``, ``waiting``, ``active`` or ``suspended``."""
    usable_from: dt.datetime | None
    sign: str
    refuse: str
    codes: dict[str, str]
    """Step → the six digits that portal and phone show alike, while a paper is open."""

    @property
    def locked(self) -> bool:
        """A phone that could sign cannot any more."""
        return self.phone != "active" and bool({self.sign, self.refuse} & {"completed", "refused"})

    @property
    def done(self) -> frozenset[str]:
        """Steps that need not be done any more."""
        facts = {
            "person": True, "enrol": self.phone == "active" or self.locked, "sign": self.sign == "completed",
            "result": self.sign == "completed", "refuse": self.refuse == "refused", "lost": self.locked,
        }  # fmt: skip
        return frozenset(step for step, true in facts.items() if true)

    @property
    def mark(self) -> str:
        """Another one as soon as anything is different."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------------- keeping
class Keeper:
    """A visitor's practice in a cookie that only this door reads. It opens nothing but the practice itself."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``home.web_key``."""
        self._box = Box(web_key(settings), "training")
        self._secure = settings.url.startswith("https:")

    def read(self, request: Request) -> Practice | None:
        """None where there is none, or none of ours."""
        try:
            return Practice.of(self._box.open(bytes.fromhex(request.cookies.get(_COOKIE, ""))))
        except (ServiceError, ValueError, KeyError, TypeError):
            return None

    def give(self, response: Response, practice: Practice) -> Response:
        """From now on this is the visitor's."""
        return self._set(response, self._box.seal(practice.to_bytes()).hex(), LIMITS["training.days"] * 86_400)

    def take(self, response: Response) -> Response:
        """The device forgets it."""
        return self._set(response, "", 0)

    def _set(self, response: Response, value: str, age: int) -> Response:
        response.set_cookie(
            _COOKIE, value, max_age=age, path=_PATH, secure=self._secure, httponly=True, samesite="lax"
        )  # fmt: skip
        return response


# ------------------------------------------------------------------------------------------------------------ portal
async def begin(parts: WebParts) -> Practice:
    """A new person with a paper that waits. Raises ``training.not_ready`` and what the questions raise."""
    client = await _client(parts)
    for _ in range(_TRIES):
        number = _invented()
        name = f"Người tập {int(number[-3:])}"
        paper, view = await _lay(parts, client, "sign", number, name)
        person = view.steps[0].person_id
        if (
            person[:_MOMENT] < view.id[:_MOMENT]
        ):  # somebody was there before the request: the number is another visitor's
            await parts.signer.ask(
                "request.cancel", client=client.id, request=view.id, reason=sentence("training.reason")
            )
            continue
        invited = json.loads(await parts.signer.ask("enrol.invite", client=client.id, person=person))
        back = paper.link.rpartition("/")[2]
        return Practice(number=number, name=name, person=person, enrol=f"{invited['link']}#s={back}", sign=paper)
    raise Unavailable("training.not_ready")


async def with_strange_paper(parts: WebParts, practice: Practice) -> Practice:
    """One more paper for the same person, which nobody asked for; a second one is not laid."""
    if practice.refuse is not None:
        return practice
    paper, _ = await _lay(parts, await _client(parts), "refuse", practice.number, practice.name)
    return replace(practice, refuse=paper)


async def standing(parts: WebParts, practice: Practice) -> tuple[Standing, dict[str, RequestView]]:
    """Where everything stands, with the requests behind it by step."""
    client = await _client(parts)
    phone = json.loads(await parts.signer.ask("enrol.standing", client=client.id, person=practice.person))
    laid = {"sign": practice.sign, "refuse": practice.refuse}
    async with parts.service.db.read() as uow:
        views = {step: await own(uow, _caller(client), each.request) for step, each in laid.items() if each is not None}
    usable = phone["usable_from"]
    codes = {step: code for step, view in views.items() if (code := _code(view)) is not None}
    found = Standing(
        phone=phone["state"], usable_from=None if usable is None else dt.datetime.fromisoformat(usable), codes=codes,
        sign=_state(views.get("sign")), refuse=_state(views.get("refuse")),
    )  # fmt: skip
    return found, views


def _state(view: RequestView | None) -> str:
    if view is None:
        return "none"
    if view.state in {"completed", "refused"}:
        return view.state
    if view.state != "open":
        return "over"
    state = view.wanted[0].state
    return {"ready": "ready", "open": "opened"}.get(state, "approved")


def _code(view: RequestView) -> str | None:
    step = view.wanted[0]
    return step.code if view.state == "open" and step.state in _SHOWN_CODE else None


async def _client(parts: WebParts) -> Client:
    """The guide's own. Raises ``training.not_ready``."""
    for each in await parts.clients.all():
        if each.name == PORTAL and each.ended_at is None and Scope.SIGNATURES_WRITE in each.scopes:
            return each
    raise Unavailable("training.not_ready")


def _caller(client: Client) -> Caller:
    return Caller(client_id=client.id, agencies=client.agencies, scopes=client.scopes)


def _invented() -> str:
    """A number that nobody has in life: none begins with 999. A thousand million of them rarely meet."""
    return f"999{int.from_bytes(random_bytes(8)) % 10**9:09d}"


async def _lay(parts: WebParts, client: Client, step: str, number: str, name: str) -> tuple[Paper, RequestView]:
    """As ``POST /api/v1/signature-requests`` does for any portal."""
    service, caller, kind = parts.service, _caller(client), PAPERS[step]
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, min(client.agencies))
        agency.require_active(service.clock.now())
    now, title = service.clock.now(), sentence(f"training.paper_{kind}")
    drawn = await asyncio.to_thread(application, kind, who=name, number=number, agency=agency.name, at=now)
    file = await keep_file(parts, caller, new_id(service.clock), drawn)
    back = f"{parts.base_url}{_PATH}/step/{'result' if step == 'sign' else step}"
    wanted = SignatureRequestIn(
        agency=agency.code, title=title, reason=sentence("training.reason"),
        deadline=now + dt.timedelta(days=LIMITS["training.days"]), documents=[PdfIn(title=title, file=file)],
        signers=[SignerIn(person=NewPersonIn(national_id=number, name=name), order=0,
                          placement=AtAnchor(kind="anchor", text=SIGNED_BY, x=-50, y=8, width=210, height=80))],
        return_url=back if client.return_urls else None,
    )  # fmt: skip
    body: dict[str, Any] = wanted.model_dump(mode="json", exclude={"agency"})
    request_id = new_id(service.clock)
    answer = await parts.signer.ask(
        "request.create", json.dumps(body, ensure_ascii=False).encode(), client=client.id, agency=agency.id,
        request=request_id,
    )  # fmt: skip
    (token,) = json.loads(answer)["links"].values()
    async with service.db.read() as uow:
        view = await own(uow, caller, request_id)
    if len(view.documents) != 1:
        raise NotFound("request.no_such_document", request=request_id, n=1)
    return Paper(request=request_id, link=f"{service.settings.sign_url.rstrip('/')}/s/{token}"), view
