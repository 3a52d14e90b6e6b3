"""Who is shut out: whose phone is lost, who holds no role any more, whom the gate does not know when it is full."""

import pytest
import sqlalchemy as sa

from api.bootstrap import Service
from api.clients.model import Scope as PortalScope
from ca_bridge import records as ca
from core.errors import ServiceError
from core.limits import LIMITS
from signer.copies import store
from signer.credentials import credential_table
from signer.enrolment.desk_stops import stop_desk
from signer.enrolment.keys import CESSATION
from tests.api.desk.conftest import FIREFOX, Browser, LoginKey, said
from tests.api.desk.test_admin import Office
from tests.flows import house

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def code_of(work) -> str:
    with pytest.raises(ServiceError) as refused:
        await work
    return refused.value.code


async def account(browser: Browser):
    return (await browser.get("/desk/account")).status_code


# ------------------------------------------------------------------------------------------------------- a lost phone
async def test_a_lost_phone_shuts_the_desk_everywhere_and_a_new_ticket_starts_afresh(desk):
    person = await desk.newcomer("certifier")
    browser, key = await desk.enter(person)
    lying = await desk.ticket(person)
    await desk.signer.parts().phones.losses.suspend(person, by="person")
    assert (await browser.get("/desk/inbox")).headers["location"].startswith("/desk/login")
    for script in ("/desk/touch", "/desk/unlock/options", "/desk/register/options"):
        assert said(await browser.ask(script, {})) == "desk.signed_out", script
    assert said(await Browser(desk.app, FIREFOX).log_in(key)) == "desk.login_failed"
    assert said(await Browser(desk.app).register(LoginKey(), lying)) == "ticket.unknown"
    desk.clock.move(seconds=1)
    again, fresh = await desk.enter(person)
    assert await account(again) == 200
    assert (await again.get("/desk/account")).text.count("/revoke") == 0  # the only one that counts
    assert (await Browser(desk.app).log_in(fresh)).status_code == 200
    assert said(await Browser(desk.app).log_in(key)) == "desk.login_failed"  # for good


async def test_who_registered_a_key_without_a_phone_of_the_signing_page_is_shut_out_too(desk):
    person = await desk.newcomer("clerk")
    browser, _ = await desk.enter(person)
    assert await desk.signer.parts().phones.losses.suspend(person, by="agency") == 0
    assert await account(browser) == 303


async def test_the_stop_of_one_person_is_nobody_elses(desk):
    one, two = await desk.newcomer("clerk"), await desk.newcomer("clerk")
    browser, key = await desk.enter(two)
    async with desk.signer.db.write() as uow:
        await stop_desk(uow, desk.clock, one)
        await stop_desk(uow, desk.clock, one)
    assert await account(browser) == 200
    assert (await Browser(desk.app).log_in(key)).status_code == 200


async def test_the_web_process_cannot_take_the_mark_away(desk):
    """It may read it; the connection refuses the rest."""
    for statement in ("DELETE FROM desk_stop", "UPDATE desk_stop SET since = 0"):
        with pytest.raises(Exception, match=r"not authorized|database\.|prohibited"):
            async with desk.parts.service.db.write() as uow:
                await uow.execute(sa.text(statement))


async def test_a_person_shuts_the_own_desk_with_the_last_passkey_too(desk):
    person = await desk.newcomer("certifier")
    one, key = await desk.enter(person)
    two = Browser(desk.app, FIREFOX)
    await two.log_in(key)
    assert "/desk/account/close" in (await one.get("/desk/account")).text
    answer = await one.post("/desk/account/close")
    assert answer.headers["location"] == "/desk/login?said=desk.closed"
    assert [await account(each) for each in (one, two)] == [303, 303]
    assert said(await Browser(desk.app).log_in(key)) == "desk.login_failed"
    again, _ = await desk.enter(person)
    assert await account(again) == 200


async def test_closing_needs_a_page_of_ours(desk):
    browser, _ = await desk.enter(await desk.newcomer("clerk"))
    assert (await browser.post("/desk/account/close", origin="http://evil.example")).status_code == 403
    assert await account(browser) == 200


# ---------------------------------------------------------------------------------------------------------- no role
async def test_who_holds_no_role_any_more_reads_nothing_and_may_leave(desk):
    person = await desk.newcomer("certifier")
    browser, key = await desk.enter(person)
    copy = await desk.copy(browser)
    await desk.end_roles(person)
    desk.clock.move(seconds=1)
    for path in (
        "/inbox",
        f"/copies/{copy}",
        f"/copies/{copy}/pages/1",
        f"/copies/{copy}/file",
        "/statistics",
        "/steps",
    ):
        answer = await browser.get(f"/desk{path}")
        assert (answer.status_code, "Phạm Thị Ổn" in answer.text) == (403, False), path
        assert 'href="/desk/statistics"' not in answer.text
    for path in ("/find", f"/copies/{copy}/anew", f"/copies/{copy}/recall"):
        assert (await browser.post(f"/desk{path}", {"reason": "abc", "number": "1", "year": "2026"})).status_code == 403
    assert said(await browser.ask("/desk/register/options", {})) == "desk.no_role"
    assert (await browser.get("/desk")).headers["location"] == "/desk/account"
    page = await browser.get("/desk/account")
    assert (page.status_code, "không được giao nhiệm vụ nào" in page.text) == (200, True)
    assert (await browser.ask("/desk/touch")).status_code == 204
    assert (await browser.post("/desk/logout")).headers["location"].startswith("/desk/login")
    other = Browser(desk.app)
    await other.log_in(key)
    assert (await other.get(f"/desk/copies/{copy}")).status_code == 403


async def test_a_copy_needs_the_role_in_which_it_is_this_persons(desk):
    person = await desk.newcomer("certifier", "clerk")
    browser, _ = await desk.enter(person)
    copy = await desk.copy(browser)
    await desk.end_roles(person, "certifier")
    desk.clock.move(seconds=1)
    assert (await browser.get("/desk/seals")).status_code == 200  # still a clerk
    for path in ("", "/pages/1", "/file"):
        assert (await browser.get(f"/desk/copies/{copy}{path}")).status_code == 403, path
    async with desk.signer.db.read() as uow:
        row = await store.get(uow, copy)
        number = (await desk.signer.register.entry(uow, row.entry_id)).number
    answer = await browser.post("/desk/find", {"number": str(number), "year": str(desk.clock.now().year)})
    assert answer.status_code == 400


async def test_the_signer_voids_for_the_copys_own_official_alone(desk):
    """Asked directly, as a broken web process would."""
    person = await desk.newcomer("certifier")
    browser, _ = await desk.enter(person)
    copy, ask = await desk.copy(browser), desk.parts.signer.ask
    async with desk.signer.db.read() as uow:
        before = (await store.get(uow, copy)).state
    strangers = [await desk.person(role) for role in ("clerk", "certifier")] + [
        await desk.person("certifier", "H2"),
        "",
    ]
    for each in strangers:
        assert await code_of(ask("void", copy=copy, reason="thử", by=each)) == "copy.no_such_copy"
    assert await code_of(ask("void", copy=copy, reason="thử")) == "copy.no_such_copy"
    elsewhere, _ = await house.add_client(desk.signer.settings, "H2")
    reader, _ = await house.add_client(desk.signer.settings, "H1", scopes=(PortalScope.COPIES_READ,))
    assert await code_of(ask("void", copy=copy, reason="thử", client=elsewhere)) == "copy.no_such_copy"
    assert await code_of(ask("void", copy=copy, reason="thử", client=reader)) == "web.no_scope"
    assert (await code_of(ask("void", copy=copy, reason="thử", client="0" * 26))).startswith("client.")
    await desk.end_roles(person)
    desk.clock.move(seconds=1)
    assert await code_of(ask("void", copy=copy, reason="thử", by=person)) == "directory.authorisation_expired"
    async with desk.signer.db.read() as uow:
        assert (await store.get(uow, copy)).state == before


# --------------------------------------------------------------------------------------------------- a mistyped address
async def test_an_address_that_leads_nowhere_is_a_page_for_people(desk):
    browser, _ = await desk.signed_in("certifier")
    for path, status in (("/nowhere", 404), ("/admin/nowhere/at/all", 404), ("/touch", 404), ("/copies/x", 422)):
        answer = await browser.get(f"/desk{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), path
        assert 'href="/desk"' in answer.text
    answer = await browser.http.get("/desk/nowhere", headers={"accept": "application/json"})
    assert said(answer) == "web.no_such_thing"
    answer = await Browser(desk.app).get("/desk/nowhere")
    assert answer.headers["location"] == "/desk/login?next=/desk/nowhere"


# ------------------------------------------------------------------------------------------------------ a crowded door
async def test_strangers_who_fill_the_door_do_not_shut_it_for_who_has_been_here(desk, monkeypatch):
    browser, key = await desk.signed_in("certifier")
    monkeypatch.setitem(LIMITS, "rate.desk_total_minute", 0)  # as if strangers had used it up
    stranger = Browser(desk.app)
    assert (await stranger.ask("/desk/login/options")).status_code == 429
    forged = {"dauso-desk": "A" * 43, "dauso-device": "B" * 43}
    stranger.http.cookies.update(forged)
    assert (await stranger.ask("/desk/login/options")).status_code == 429  # looks right, was never given
    assert (await browser.log_in(key, "/desk/unlock")).status_code == 200
    desk.clock.move(seconds=LIMITS["desk.session_seconds"])
    assert (await browser.log_in(key)).status_code == 200  # the session is over, its cookies are still ours
    monkeypatch.setitem(LIMITS, "rate.known_minute", 2)
    seen = [(await browser.ask("/desk/login/options")).status_code for _ in range(4)]
    assert seen[-1] == 429  # and nobody takes more than a share


# -------------------------------------------------------------------------------------------- the end of the last role
async def test_when_the_last_role_ends_the_officials_certificate_is_revoked(desk):
    code = "Z" + desk.clock.now().strftime("%H%M%S%f")
    await desk.signer.enrolment.agency(code=code, name="UBND xã Hết Nhiệm", parent="UBND tỉnh Ví Dụ")
    office = Office(desk, code)
    await office.open()
    person = await desk.newcomer("certifier", "clerk", code=code)
    serial = await certified(desk.signer, person)
    page = await office.page(f"/desk/admin/people/{person}")
    rights = list(
        dict.fromkeys(part[:26] for part in page.split(f"/people/{person}/roles/")[1:] if part[26:30] == "/end")
    )
    assert len(rights) == 2
    for right, states in zip(rights, (("active", "good"), ("retired", "revoked")), strict=True):
        decision = await office.proposed(f"/desk/admin/people/{person}/roles/{right}/end", {"at": ""})
        assert (await office.agree(decision)).state == "applied"
        assert await standing(desk.signer, person, serial) == states


async def certified(service: Service, person_id: str) -> int:
    """A key of the agency's for that person; returns the certificate's serial number."""
    phones = service.parts().phones
    async with service.db.read() as uow:
        person = await phones.directory.person(uow, person_id)
        agency = await phones.directory.agency(uow, person.agency_id)
    made = await phones.keys.make(person, agency, official=True, event_id="test")
    async with service.db.write() as uow:
        await phones.keys.keep(uow, person_id, made)
    return made.certificate.serial


async def standing(service: Service, person_id: str, serial: int) -> tuple[str, str]:
    async with service.db.read() as uow:
        c = credential_table.c
        key = (await uow.execute(sa.select(c.state).where(c.owner == person_id))).scalar_one()
        found = (await ca.states(uow, [serial]))[serial]
    assert found.revoked is None or found.revoked[1] == CESSATION
    return key, found.status
