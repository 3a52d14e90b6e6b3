"""``/e/…``: the pages of enrolment, and the questions they ask. Thin: every rule stands in ``signer.enrolment``.

No cookie is read or set. A link's token names whom it expects; the pass in the header ``dauso-pass`` carries one run on.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.bootstrap import Service
from api.sign.door import same_origin
from api.sign.pages import language_of, render
from api.sign.shown import moment_text
from api.sign.webauthn import Credential, Registration, request_options, to_text
from api.training.identity import training_identity
from api.web.access import ANYONE
from core.errors import NotFound
from core.limits import LIMITS
from core.messages import sentence
from core.values import Realm
from signer.activation.passkeys import RelyingParty
from signer.enrolment.model import Lost, Stage, consent_text
from signer.enrolment.phones import Phones
from signer.enrolment.registration import ALGORITHMS, Challenge
from signer.enrolment.wiring import TRAINING_PATH

__all__ = ["enrol_router", "mount"]

_RANDOM: Final = r"^[A-Za-z0-9_-]{32}$"
Token = Annotated[str, Path(pattern=_RANDOM)]
Pass = Annotated[str, Header(alias="dauso-pass", pattern=_RANDOM)]
_POST: Final[Any] = [ANYONE, Depends(same_origin)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoginAnswer(_In):
    """What a provider sent back through the browser, with the secret that only this browser keeps."""

    flow: str = Field(pattern=_RANDOM)
    state: str = Field(pattern=_RANDOM)
    code: str | None = Field(default=None, min_length=1, max_length=2_048)
    iss: str | None = Field(default=None, max_length=1_000)


class Code(_In):
    """Six digits."""

    code: str = Field(pattern=r"^[0-9]{6}$")


class Consent(_In):
    """The digest of the wording that was shown."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PasskeyAnswer(_In):
    """AuthenticationResponseJSON for one question."""

    tx: str = Field(pattern=r"^[0-9a-z]{26}$")
    credential: Credential


class RegistrationAnswer(_In):
    """RegistrationResponseJSON for one question."""

    tx: str = Field(pattern=r"^[0-9a-z]{26}$")
    credential: Registration


def mount(app: FastAPI, service: Service, phones: Phones | None = None) -> None:
    """The router and, in realm training alone, the simulated provider. ``phones``: the service's if None."""
    app.include_router(enrol_router(service, phones))
    if service.realm is Realm.TRAINING:
        origin = service.settings.sign_url.rstrip("/")
        provider = training_identity(
            issuer=f"{origin}{TRAINING_PATH}", redirect_uri=f"{origin}/e/back", realm=service.realm, clock=service.clock,
            client_id=service.settings.identity_client_id,
        )  # fmt: skip
        app.mount(TRAINING_PATH, provider.app())


def enrol_router(service: Service, phones: Phones | None = None) -> APIRouter:
    """Everything below ``/e``."""
    router = APIRouter(prefix="/e", include_in_schema=False)
    desk = _Desk(service, phones or service.parts().phones)
    router.add_api_route("/back", desk.back_page, methods=["GET"], dependencies=[ANYONE])
    router.add_api_route("/back", desk.back, methods=["POST"], dependencies=_POST)
    router.add_api_route("/lost", desk.lost_page, methods=["GET"], dependencies=[ANYONE])
    router.add_api_route("/lost/login", desk.lost_login, methods=["POST"], dependencies=_POST)
    router.add_api_route("/run/stage", desk.stage, methods=["GET"], dependencies=[ANYONE])
    router.add_api_route("/run/consent", desk.consent, methods=["POST"], dependencies=_POST)
    router.add_api_route("/run/registration", desk.registration, methods=["POST"], dependencies=_POST)
    router.add_api_route("/run/registered", desk.registered, methods=["POST"], dependencies=_POST)
    router.add_api_route("/run/finish", desk.finish, methods=["POST"], dependencies=_POST)
    router.add_api_route("/run/ticket", desk.ticket, methods=["POST"], dependencies=_POST)
    router.add_api_route("/stop/{token}", desk.stop_page, methods=["GET"], dependencies=[ANYONE])
    router.add_api_route("/stop/{token}", desk.stop, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}", desk.page, methods=["GET"], dependencies=[ANYONE])
    router.add_api_route("/{token}/login", desk.login, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/code", desk.send_code, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/code/answer", desk.code, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/passkey", desk.ask_passkey, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/passkey/answer", desk.passkey, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/halt", desk.ask_halt, methods=["POST"], dependencies=_POST)
    router.add_api_route("/{token}/halt/answer", desk.halt, methods=["POST"], dependencies=_POST)
    return router


class _Desk:
    """Routes as methods: they share the service."""

    def __init__(self, service: Service, phones: Phones) -> None:
        self._service, self._phones = service, phones

    @property
    def _rp(self) -> RelyingParty:
        return self._phones.relying_party

    # -------------------------------------------------------------------------------------------------------- pages
    async def page(self, token: Token, request: Request) -> Response:
        """Whoever holds the link sees who invites, and how to show who they are."""
        try:
            arrival = await self._phones.arrival(token)
        except NotFound:
            return render(request, "gone.html", self._service.realm, status=404, said="link.unknown")
        waiting = arrival.waiting
        return self._render(request, "enrol.html", arrival=arrival, url=f"{self._rp.origin}/e/{token}",
                            until=_moment(arrival.expires), usable=_moment(waiting.usable_from if waiting else None))  # fmt: skip

    async def lost_page(self, request: Request) -> Response:
        """Open to everybody: it locks, and gives nothing."""
        login = self._phones.identities.provider is not None
        return self._render(request, "enrol_lost.html", login=login, url=f"{self._rp.origin}/e/lost")

    async def back_page(self, request: Request) -> Response:
        """Where a provider sends the browser back; its script hands the answer over and clears the address."""
        return render(request, "enrol_back.html", self._service.realm)

    async def stop_page(self, token: Token, request: Request) -> Response:
        """Asks once more before it stops anything: a mail scanner that opens links must not."""
        try:
            await self._phones.losses.objectable(token)
        except NotFound as error:
            return render(request, "gone.html", self._service.realm, status=404, said=error.code)
        return render(request, "enrol_stop.html", self._service.realm)

    def _render(self, request: Request, template: str, **values: Any) -> Response:
        lang = language_of(request)
        digest = hashlib.sha256(consent_text().encode()).hexdigest()
        return render(request, template, self._service.realm, consent=sentence("enrol.consent_text", lang),
                      consent_sha256=digest, **values)  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- identity
    async def login(self, token: Token) -> JSONResponse:
        """Begin a log-in: where to go, and the secret that stays here."""
        asked = await self._phones.ask_login(token)
        return _answer({"url": asked.url, "flow": asked.flow})

    async def lost_login(self) -> JSONResponse:
        """The same about a lost phone."""
        asked = await self._phones.ask_login(None)
        return _answer({"url": asked.url, "flow": asked.flow})

    async def back(self, given: LoginAnswer) -> JSONResponse:
        """A pass, or what was locked."""
        found = await self._phones.answer_login(flow=given.flow, state=given.state, code=given.code, iss=given.iss)
        return _answer({"pass": found} if isinstance(found, str) else {"lost": [_lost(each) for each in found]})

    async def send_code(self, token: Token) -> JSONResponse:
        """Six digits to the address that the portal named; it is not shown."""
        return _answer({"seconds": await self._phones.send_code(token)})

    async def code(self, token: Token, given: Code) -> JSONResponse:
        """A pass."""
        return _answer({"pass": await self._phones.answer_code(token, given.code)})

    async def ask_passkey(self, token: Token) -> JSONResponse:
        """A question for a passkey that the person has."""
        return await self._question(token, "approve")

    async def ask_halt(self, token: Token) -> JSONResponse:
        """The same, to stop a phone that waits."""
        return await self._question(token, "stop")

    async def _question(self, token: str, do: str) -> JSONResponse:
        asked, known = await self._phones.known.ask(token, do=do)
        options = request_options(
            asked.value, self._rp, [key.credential_id for key in known], LIMITS["enrol.challenge_seconds"]
        )
        return _answer({"tx": asked.tx, "publicKey": options})

    async def passkey(self, token: Token, given: PasskeyAnswer) -> JSONResponse:
        """A pass."""
        return _answer({"pass": await self._phones.known.admit(token, given.tx, given.credential.assertion())})

    async def halt(self, token: Token, given: PasskeyAnswer) -> JSONResponse:
        """What waited has ended."""
        return _answer({"stopped": await self._phones.known.stop(token, given.tx, given.credential.assertion())})

    # ---------------------------------------------------------------------------------------------------------- run
    async def stage(self, held: Pass) -> JSONResponse:
        """Where the run stands: a page that lost its line goes on from here."""
        return _answer(_stage(await self._phones.stage(held)))

    async def consent(self, held: Pass, given: Consent) -> JSONResponse:
        """The wording shown was agreed to."""
        await self._phones.consent(held, bytes.fromhex(given.sha256))
        return _answer(_stage(await self._phones.stage(held)))

    async def registration(self, held: Pass) -> JSONResponse:
        """PublicKeyCredentialCreationOptionsJSON."""
        asked, known = await self._phones.ask_registration(held)
        exclude = [{"type": "public-key", "id": to_text(key.credential_id)} for key in known]
        return _answer({"tx": asked.tx, "publicKey": {**await self._creation(asked), "excludeCredentials": exclude}})

    async def _creation(self, asked: Challenge) -> dict[str, Any]:
        """The name is what the phone shows beside the passkey: a family may share one phone."""
        async with self._service.db.read() as uow:
            person = await self._service.directory.person(uow, asked.person_id)
            agency = await self._service.directory.agency(uow, person.agency_id)
            official = bool(await self._phones.people.roles(uow, person.id))
        mark = "TẬP HUẤN · " if self._service.realm is Realm.TRAINING else ""
        name = f"{mark}{person.name}{f' · {agency.name}' if official else ''}"
        handle = hashlib.sha256(f"dauso/user/{person.id}".encode()).digest()
        return {
            "rp": {"id": self._rp.rp_id, "name": self._service.settings.system_name},
            "user": {"id": to_text(handle), "name": name, "displayName": name}, "challenge": to_text(asked.value),
            "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
            "timeout": LIMITS["enrol.challenge_seconds"] * 1000, "attestation": "none",
            "authenticatorSelection": {"residentKey": "preferred", "userVerification": "required"},
        }  # fmt: skip

    async def registered(self, held: Pass, given: RegistrationAnswer) -> JSONResponse:
        """The new passkey; then key, certificate and the end."""
        credential_id, client_data, attestation = given.credential.raw()
        await self._phones.register(
            held, given.tx, credential_id=credential_id, client_data=client_data, attestation=attestation
        )
        return await self.finish(held)

    async def finish(self, held: Pass) -> JSONResponse:
        """Asked again after a lost line, it answers the same."""
        return _answer(_stage(await self._phones.finish(held)))

    async def ticket(self, held: Pass) -> JSONResponse:
        """A one-time link to the desk; the ticket stands behind the ``#`` and is sent to nobody by itself."""
        return _answer({"url": f"{self._service.settings.url}/desk/register#{await self._phones.ticket_of(held)}"})

    async def stop(self, token: Token) -> JSONResponse:
        """*That was not me.*"""
        return _answer({"state": await self._phones.losses.object_to(token)})


def _answer(value: dict[str, Any]) -> JSONResponse:
    return JSONResponse(value, headers={"cache-control": "no-store"})


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "state": stage.state, "kind": stage.kind, "method": stage.method, "official": stage.official,
        "usable_from": _moment(stage.usable_from) or None, "delayed": stage.delayed, "desk": stage.desk,
    }  # fmt: skip


def _lost(lost: Lost) -> dict[str, Any]:
    return {"agency": lost.agency, "official": lost.official, "stopped": lost.stopped, "pass": lost.token}


def _moment(at: datetime | None) -> str:
    return moment_text(at) or ""
