"""The page of what the key reconciliation found: who sees it, what stands there, and that it is looked at once."""

import dataclasses
import datetime as dt
import re

import pytest
import pytest_asyncio

from api.web.app import make_app
from audit.keyuse import Finding, KeyVersion, Severity
from audit.keyuse.records import finding_table, run_table
from audit.keyuse.store import Saved, save
from core.ids import new_id
from core.limits import LIMITS
from signer.keystores.model import KeyPurpose
from tests.api.desk.conftest import Browser
from tests.api.desk.test_admin import office
from tests.api.desk.test_admin_keys import Keys

__all__ = ["office"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/desk/admin/findings"
WHY = "Người vận hành thử máy chủ lúc 10 giờ; đã lập biên bản"


class Keepers:
    """The office, named as the one whose administrators decide about the realm's own keys; and the auditor beside it."""

    def __init__(self, office):
        self.office, self.signer, self.clock = office, office.signer, office.desk.clock

    async def open(self):
        desk = self.office.desk
        service = desk.parts.service
        settings = service.settings.model_copy(update={"keys_agency": self.office.code})
        desk.parts = dataclasses.replace(desk.parts, service=dataclasses.replace(service, settings=settings))
        desk.app = make_app(desk.parts)
        self.browser = Browser(desk.app)
        self.browser.http.cookies = self.office.browser.http.cookies
        self.office.browser = self.browser
        keys = Keys(self.office)
        await keys.fill()
        self.seal = await keys.of(KeyPurpose.SEAL)
        async with self.signer.db.write() as uow:  # of other tests
            for table in ("key_audit_look", "key_audit_told", "key_audit_finding", "key_audit_place", "key_audit_run"):
                for event in ("no_delete",):
                    await uow.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_{event}")
                await uow.exec_driver_sql(f"DELETE FROM {table}")
        return self

    async def run(self, *findings, ago=0):
        now = self.clock.now() - dt.timedelta(hours=ago)
        made = Saved(
            id=new_id(self.clock), device="to-file", before=None, state="whole", began_at=now, ended_at=now, since=now, until=now,
            counts={}, carry={}, places=[], findings=list(findings),
        )  # fmt: skip
        await save(self.signer.db, self.clock, made)
        return made.id

    def finding(self, code="keyuse.call_without_intent", severity=Severity.CRITICAL, key=None, **more):
        ref = self.seal.ref
        now = self.clock.now()
        given = {
            "first_at": now - dt.timedelta(minutes=9),
            "last_at": now,
            "who": "entity-0815",
            "requests": ("request-0815",),
            **more,
        }
        return Finding(code=code, severity=severity, key=key or KeyVersion(ref.place, ref.name, ref.version), **given)

    async def page(self, path=""):
        answer = await self.browser.get(PATH + path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def look(self, finding, why=WHY, **more):
        return await self.browser.post(f"{PATH}/{finding}/look", {"why": why}, **more)


@pytest_asyncio.fixture(loop_scope="module")
async def keepers(office):
    room = office.signer.parts().decisions.room
    object.__setattr__(room, "keys_agency", office.code)  # the signer's own setting
    yield await Keepers(office).open()
    object.__setattr__(room, "keys_agency", "")


def ids(page):
    return re.findall(rf"{PATH}/([0-9a-z]{{26}})/look", page)


async def test_before_the_first_run_the_overview_says_nothing_and_the_page_that_it_never_ran(keepers):
    assert PATH not in await keepers.office.page("/desk/admin")
    page = await keepers.page()
    assert "Keys were never reconciled" in page
    assert "Nothing was found that does not agree" in page
    assert PATH in await keepers.office.page("/desk/admin/keys")


async def test_critical_findings_are_told_on_the_overview_until_somebody_has_looked(keepers):
    run = await keepers.run(
        keepers.finding(count=3), keepers.finding("keyuse.raw_audit", what="audit.log", key=KeyVersion("", "", 0)),
        keepers.finding("keyuse.refused_attempt", Severity.WARNING), keepers.finding("keyuse.decided", Severity.NOTE),
    )  # fmt: skip
    assert "Đối soát khóa có 2 phát hiện nghiêm trọng chưa ai xem" in await keepers.office.page("/desk/admin")
    page = await keepers.page()
    assert page.index("Critical") < page.index("To be looked at")
    for words in ("was called to sign 3 time(s) without any cause of ours", "Seal key of the agency", "UBND xã Quản Trị", run,
                  f"/desk/admin/keys/{keepers.seal.id}", "audit.log", "keyuse.raw_audit", "Reconciled up to"):  # fmt: skip
        assert words in page, words
    for words in ("entity-0815", "request-0815", "keyuse.decided"):
        assert words not in page, words
    one, two, warning = ids(page)
    answer = await keepers.look(one)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?said=desk.finding_kept")
    page = await keepers.page()
    assert "Vũ Thị Một looked at it at" in page
    assert WHY in page
    assert page.count("Nghiêm trọng") == 2  # what it was it stays
    assert ids(page) == [two, warning]
    assert "Đối soát khóa có 1 phát hiện" in await keepers.office.page("/desk/admin")
    await keepers.look(two)
    overview = await keepers.office.page("/desk/admin")
    assert "có 2 phát hiện nghiêm trọng, đều đã có người xem" in overview
    assert PATH in overview


async def test_a_second_look_and_one_without_a_reason_are_refused_and_what_was_typed_stays(keepers):
    await keepers.run(keepers.finding(), keepers.finding("keyuse.signed_twice"))
    one, two = ids(await keepers.page())
    assert (await keepers.look(one)).status_code == 303
    answer = await keepers.look(one, "lần nữa")
    assert answer.status_code == 400
    assert "Somebody has already looked at this finding" in answer.text
    answer = await keepers.look(two, "chữ \u202e")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'value="chữ \u202e"' in answer.text
    answer = await keepers.look("0" * 26)
    assert "There is no such finding" in answer.text
    assert (await keepers.look(two, "x" * (LIMITS["decision.text_letters"] + 1))).status_code == 400
    assert ids(await keepers.page()) == [two]


async def test_a_reconciliation_that_stands_still_is_said(keepers):
    await keepers.run(ago=LIMITS["keyuse.overdue_hours"] + 1)
    for page in (await keepers.office.page("/desk/admin"), await keepers.page()):
        assert "more than 48 hours ago" in page
    await keepers.run()
    for page in (await keepers.office.page("/desk/admin"), await keepers.page()):
        assert "more than 48 hours ago" not in page


async def test_only_administrators_of_that_agency_come_in_and_only_from_a_page_of_ours(keepers, desk):
    await keepers.run(keepers.finding())
    (one,) = ids(await keepers.page())
    clerk, _ = await desk.signed_in("clerk")
    assert (await clerk.get(PATH)).status_code == 403
    assert (await clerk.post(f"{PATH}/{one}/look", {"why": WHY})).status_code == 403
    assert (await Browser(desk.app).get(PATH)).status_code == 303
    assert (await keepers.look(one, origin="http://evil.example")).status_code == 403
    other = await desk.newcomer("administrator", code="H2")
    browser, _ = await desk.enter(other)
    assert PATH not in (await browser.get("/desk/admin")).text
    assert (await browser.get(PATH)).status_code == 404
    assert (await browser.post(f"{PATH}/{one}/look", {"why": WHY})).status_code == 404
    assert ids(await keepers.page()) == [one]


async def test_the_web_process_itself_can_write_nothing_of_this(keepers):
    from core.errors import Broken

    for table in (finding_table, run_table):
        with pytest.raises(Broken, match=r"database\.not_allowed"):
            async with keepers.office.desk.parts.service.db.write() as uow:
                await uow.execute(table.delete())
