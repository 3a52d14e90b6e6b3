"""Every door says who may open it, in the code and in docs/reference/doors.md alike."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount, Route

from api.sign.app import make_sign_app
from api.web.access import ANYONE, Access, client
from api.web.app import make_operator_app, routes
from api.web.docs import access_of
from core.clock import SystemClock
from core.settings import Settings
from core.values import Realm

ROOT = Path(__file__).resolve().parents[2]
MOUNTS: dict[str, str] = {}
"""Foreign applications inside ours, each with the reason why it may answer without our declaration."""


def every(app):
    """(methods, path, access) of all routes, in the order of the path."""
    found = []
    for each in iter_route_contexts(app.routes):
        assert isinstance(each.original_route, APIRoute | Route | Mount), each
        if isinstance(each.original_route, Mount):
            assert MOUNTS.get(each.path), f"{each.path} is mounted without a reason"
            continue
        methods = each.methods - {"HEAD"} if "GET" in each.methods else each.methods
        found.append((" ".join(sorted(methods)), each.path, access_of(each)))
    return sorted(found, key=lambda row: (row[1], row[0]))


@pytest.fixture(scope="module")
def public():
    service = SimpleNamespace(realm=Realm.TRAINING)  # all that other realms have, and the guide
    return every(routes(SimpleNamespace(service=service, signer=None)))


@pytest.fixture(scope="module")
def operator():
    return every(make_operator_app(SimpleNamespace(service=SimpleNamespace(realm=Realm.TRAINING), signer=None)))


@pytest.fixture(scope="module")
def approvals():
    parts = SimpleNamespace(phones=None)
    service = SimpleNamespace(
        settings=Settings(home=Path("nowhere")), clock=SystemClock(), realm=Realm.PRODUCTION, parts=lambda: parts
    )
    gate = make_sign_app(service)
    return every(gate._app)


def test_every_route_says_once_who_may_open_it(public, operator, approvals):
    assert len(public) > 50
    for methods, path, access in public + operator + approvals:
        assert isinstance(access, Access), f"{methods} {path} does not declare who may open it"
        assert access.who in {"anyone", "client", "desk", "operator"}


def test_everything_under_the_portal_needs_a_client_with_a_scope(public):
    # what an upload can do is asked by clients of tus before they show who they are
    free = {("OPTIONS", "/api/v1/uploads")}
    for methods, path, access in public:
        if path.startswith("/api/") and (methods, path) not in free:
            assert access.who == "client", path
            assert access.scope is not None, path


def test_everything_at_the_desk_needs_a_person_who_is_signed_in(public):
    # what somebody needs who is not yet; each POST of these asks for our own page itself
    free = {
        ("GET", "/desk/static/{version}/{name}"), ("GET", "/desk/login"), ("GET", "/desk/register"),
        ("POST", "/desk/login/options"), ("POST", "/desk/login"), ("POST", "/desk/register/options"),
        ("POST", "/desk/register"),
    }  # fmt: skip
    found = {(methods, path): access for methods, path, access in public if path.startswith("/desk")}
    assert {route for route, access in found.items() if access.who == "anyone"} == free
    assert all(access.who == "desk" for route, access in found.items() if route not in free)
    assert all(access.role == "administrator" for (_, path), access in found.items() if path.startswith("/desk/admin"))


def test_the_operators_routes_are_on_the_operators_listener_alone(public, operator):
    assert not [path for _, path, access in public if access.who == "operator"]
    assert "/metrics" in {path for _, path, access in operator if access.who == "operator"}


def test_a_route_that_forgets_or_repeats_itself_is_found():
    app, router = FastAPI(openapi_url=None), APIRouter()
    for path, dependencies in (("/none", []), ("/two", [ANYONE, client("verify")]), ("/one", [ANYONE])):
        router.add_api_route(path, lambda: None, dependencies=dependencies)
    app.include_router(router, prefix="/x")
    assert {path: access and access.who for _, path, access in every(app) if path.startswith("/x")} == {
        "/x/none": None, "/x/two": None, "/x/one": "anyone",
    }  # fmt: skip


def test_the_table_of_doors_is_the_code(public, operator, approvals):
    found = [
        f"| {methods} | `{path}` | {access.who} | {f'`{access.need}`' if access.need else '–'} |"
        for methods, path, access in public + operator + approvals
    ]
    text = (ROOT / "docs/reference/doors.md").read_text()
    assert re.findall(r"^\| [A-Z].*\|$", text, re.MULTILINE) == found, "\n".join(found)
