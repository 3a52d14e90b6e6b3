"""Every page of the signing origin, of enrolment, of the desk and of its administrators, for ``make screens``."""

import datetime as dt
import re
from pathlib import Path

from api.training.guide import STEPS
from core.clock import SystemClock
from core.values import Realm
from tests.browser.camera import Camera
from tests.browser.conftest import PHONE
from tests.browser.hands import Hands
from tests.browser.signing import until
from tests.browser.test_enrol import newest
from tests.browser.town_here import UNDER_THE_NAME, Somebody, TownHere, box, signer

MAI = "Nguyễn Thị Ngọc Mai"
AN, BINH, CHI, DUNG, EM, GIANG, HOA, KIM, LAN = (
    "Phạm Thị An", "Lê Văn Bình", "Ngô Thị Chi", "Đặng Văn Dũng", "Võ Thị Em", "Trịnh Văn Giang", "Dương Thị Hoa",
    "Lý Văn Kim", "Hoàng Thị Lan",
)  # fmt: skip


class Shoot:
    """A town, its people in front of browsers, and a camera."""

    def __init__(self, town: TownHere, browser, camera: Camera) -> None:
        self.town, self.camera, self._browser = town, camera, browser

    def at(self, name: str, **how) -> Hands:
        """Somebody with a phone of their own."""
        who = self.town.citizens.get(name) or self.town.officials.get(name) or Somebody(name=name, number="")
        return Hands(self.page(), who, **how)

    def page(self, script: str = ""):
        """A fresh browser."""
        page = self._browser.new_context(viewport=PHONE, locale="vi-VN").new_page()
        if script:
            page.add_init_script(script)
        return page

    # ----------------------------------------------------------------------------------------------------- citizens
    def first_time(self) -> None:
        """No phone yet, enrolment, and the first signature."""
        mai, asked = self.at(MAI), self.town.ask(signer(self.town.citizens[MAI], place=UNDER_THE_NAME))
        page = mai.page
        page.goto(asked.links[0])
        self.camera(page, "sign-no-phone-yet")
        mai.press("button:has-text('Đăng ký điện thoại')")
        page.locator("#enrolment").wait_for(state="attached")
        self.camera(page, "enrol-begin")
        mai.log_in()
        page.locator("[data-view=consent]").wait_for()
        self.camera(page, "enrol-consent")
        page.click("label.check")
        page.click("#consent")
        page.locator("[data-view=phone]").wait_for()
        self.camera(page, "enrol-phone")
        page.click("#make")
        page.locator("[data-view=ready]").wait_for()
        self.camera(page, "enrol-ready")
        page.click("#return a")
        page.locator("#enter").wait_for()
        self.camera(page, "sign-entry")
        page.click("#elsewhere summary")
        self.camera(page, "sign-other-phone")
        mai.enter()
        mai.read()
        self.camera(page, "sign-read")
        page.click("#refuse")
        self.camera(page, "sign-refuse")
        page.click("#refuse-not")
        mai.approve()
        mai.heading("Đã ký")
        self.camera(page, "sign-done")
        page.evaluate("sessionStorage.clear()")
        page.goto(asked.links[0])
        mai.press(".to-enrol")
        page.locator("#passkey").wait_for()
        self.camera(page, "enrol-second-phone")

    def together(self) -> None:
        """Several signers: at once, one after the other, one who does not."""
        town = self.town
        asked = town.ask(
            signer(town.citizens[BINH], 1, box(60, 560)), signer(town.citizens[CHI], 1, box(320, 560)), pages=3
        )
        binh, chi = self.at(BINH), self.at(CHI)
        binh.open(asked.links[0]).read()
        chi.open(asked.links[1])
        chi.heading("người khác đang ký")
        self.camera(chi.page, "sign-somebody-else-reads")
        binh.approve()
        binh.heading("Đã ký")
        self.camera(binh.page, "sign-done-others-to-come")
        chi.read()
        self.camera(chi.page, "sign-read-second")
        chi.page.click("#refuse")
        chi.page.fill("#reason", "Sai ngày sinh của tôi")
        chi.page.click("text=Xác nhận không ký")
        chi.heading("Chưa ký: đã từ chối")
        self.camera(chi.page, "sign-refused")
        asked = town.ask(signer(town.citizens[DUNG], 1), signer(town.citizens[EM], 2))
        em = self.at(EM).open(asked.links[1])
        em.heading("chưa đến lượt bạn")
        self.camera(em.page, "sign-not-your-turn")

    def many_and_digests(self) -> None:
        """Five papers; a digest that nobody can show."""
        titles = tuple(f"Văn bản số {n}" for n in range(1, 6))
        asked = self.town.ask(signer(self.town.citizens[KIM], place=UNDER_THE_NAME), papers=titles)
        kim = self.at(KIM).open(asked.links[0])
        kim.read()
        self.camera(kim.page, "sign-read-many")
        deadline = (SystemClock().now() + dt.timedelta(days=2)).isoformat()
        body = {
            "agency": "H1", "title": "Bảng lương tháng 11", "reason": "Xác nhận", "deadline": deadline,
            "documents": [{"title": "Bảng lương tháng 11", "digest": "5e" * 32, "algorithm": "sha256"}],
            "signers": [{"person": self.town.citizens[LAN].as_signer}],
        }  # fmt: skip
        made = self.town.portal.post("/api/v1/signature-requests", json=body).json()
        lan = self.at(LAN).open(made["signing"][0]["url"])
        lan.page.locator(".digest").wait_for()
        self.camera(lan.page, "sign-read-digest")

    def trouble(self) -> None:
        """Too late, no such link, no passkeys, no line, a lost phone."""
        town = self.town
        hoa, asked = self.at(HOA), town.ask(signer(town.citizens[HOA]), seconds=8)
        hoa.open(asked.links[0]).read()
        hoa.page.context.set_offline(True)
        hoa.approve()
        hoa.page.locator("#line:visible").wait_for()
        self.camera(hoa.page, "sign-line-lost", whole=False)
        until(lambda: asked.seen()["state"] == "expired", 30)
        hoa.page.context.set_offline(False)
        hoa.heading("Chưa ký: đã quá hạn")
        self.camera(hoa.page, "sign-expired")
        page = self.page()
        page.goto(asked.links[0])
        self.camera(page, "sign-too-late")
        page.goto(f"{town.sign_url}/s/nothing")
        self.camera(page, "sign-no-such-link")
        asked = town.ask(signer(town.citizens[GIANG]))
        bare = self.page("delete window.PublicKeyCredential")
        bare.goto(asked.links[0])
        bare.locator("[data-view=nokey]").wait_for()
        self.camera(bare, "sign-no-passkeys-here")
        giang, lost = self.at(GIANG), self.at(GIANG, keyed=False)
        giang.open(asked.links[0]).read()
        lost.page.goto(f"{town.sign_url}/e/lost")
        self.camera(lost.page, "enrol-lost")
        lost.log_in("Đăng nhập để khóa")
        lost.page.locator("[data-view=locked]").wait_for()
        self.camera(lost.page, "enrol-locked")
        giang.approve()
        giang.page.locator("#entry-note:visible").wait_for()
        self.camera(giang.page, "sign-phone-was-locked")

    # --------------------------------------------------------------------------------------------------------- desk
    def come(self, name: str, first: bool = False) -> Hands:
        """An official: enrolled, at the desk."""
        person = self.at(name, keyed=False)
        page = person.page
        page.goto(f"{self.town.sign_url}/e/{person.who.invitation}")
        person.enrol()
        page.click("#ticket")
        page.locator("#desk-open a").wait_for()
        if first:
            self.camera(page, "enrol-ready-official")
        page.click("#desk-open a")
        page.locator("form[data-register] button").wait_for()
        if first:
            self.camera(page, "register")
        page.click("form[data-register] button")
        page.locator(".me").wait_for()
        return person

    def go(self, person: Hands, path: str, name: str, **how) -> None:
        """A page of the desk."""
        person.page.goto(f"{self.town.url}{path}")
        self.camera(person.page, name, **how)

    def official(self) -> None:
        """Inbox, paper, link, signing page, and the rest of the menu."""
        town = self.town
        kinds = ("Giấy khai sinh", "Bằng tốt nghiệp trung học phổ thông", "Sổ hộ khẩu")
        copies = [town.copy("certifier", "clerk", kind) for kind in kinds]
        town.ask(
            signer(town.officials["certifier"], 1, box(60, 520), "official"),
            papers=("Giấy xác nhận tình trạng hôn nhân",),
        )
        page = self.page()
        page.goto(f"{town.url}/desk")
        self.camera(page, "login")
        official = self.come("certifier", first=True)
        page = official.page
        self.camera(page, "inbox")
        self.go(official, "/desk/new", "new")
        self.go(official, "/desk/steps", "steps")
        self.go(official, "/desk/account", "account")
        self.go(official, "/desk/statistics", "statistics")
        self.go(official, f"/desk/copies/{'0' * 26}", "not-found")
        for number, copy_id in enumerate(copies[:2]):
            page.goto(f"{town.url}/desk/copies/{copy_id}")
            for tick in page.locator("input[name=page], #sign input[name=check]").all():
                tick.check()
            if number == 0:
                self.camera(page, "copy", whole=True)
            page.click("button:has-text('Chứng thực và ký')")
            page.locator("#signing-link").wait_for()
            if number == 0:
                self.camera(page, "link")
            page.click("#signing-link")
            official.enter()
            official.read()
            if number == 0:
                self.camera(page, "sign-read-copy")
            official.approve()
            official.heading("Đã ký")
            if number == 0:
                self.camera(page, "sign-done-copy")
        page.click("#return")
        page.locator(".me").wait_for()
        page.click(".me form[action='/desk/lock'] button")
        page.locator("[data-unlock-page]").wait_for()
        self.camera(page, "locked")

    def clerk(self) -> None:
        """Queue, several at once, a paper that is done."""
        clerk = self.come("clerk")
        page = clerk.page
        self.camera(page, "seals", whole=False)
        page.check("[data-all]")
        page.click("form[data-choose] button")
        page.click("#signing-link")
        clerk.enter()
        clerk.read()
        self.camera(page, "sign-read-seal")
        clerk.approve()
        clerk.heading("Đã ký")
        items = self.town.portal.get("/api/v1/copies?limit=50").json()["items"]
        copy_id = next(each["id"] for each in items if each["state"] == "released")
        self.go(clerk, f"/desk/copies/{copy_id}", "copy-seen-by-clerk")
        self.go(clerk, "/desk/seals", "seals-empty")

    def administrator(self) -> None:
        """All that two of them decide."""
        admin, town = self.come("administrator"), self.town
        page = admin.page
        self.camera(page, "admin")
        for path in ("people", "templates", "seal-image", "books", "clients", "trust"):
            self.go(admin, f"/desk/admin/{path}", f"admin-{path}")
        self.go(admin, "/desk/admin/keys", "admin-keys", whole=False)  # every person has a key
        page.locator("main a[href*='/desk/admin/keys/']").first.click()
        page.locator("main dl.facts").first.wait_for()
        self.camera(page, "admin-key")
        self.go(admin, f"/desk/admin/people/{town.officials['clerk2'].id}", "admin-person")
        page.click("button:has-text('Mời đăng ký'), form[action$='/invite'] button")
        page.locator("#link").wait_for()
        self.camera(page, "admin-invite")
        page.goto(f"{town.url}/desk/admin/books")
        page.select_option("#year", index=page.locator("#year option").count() - 1)
        page.click("form[action='/desk/admin/books'] button")
        page.locator("form[action$='/link'] button").wait_for()
        self.camera(page, "admin-decision")
        page.click("form[action$='/link'] button")
        page.locator("#signing-link").wait_for()
        self.camera(page, "admin-vote-link")
        page.click("#signing-link")
        admin.enter()
        page.locator("[data-view=reading] dl dd").first.wait_for()
        page.locator("#approve").wait_for()
        self.camera(page, "sign-read-decision")
        admin.approve()
        admin.heading("chờ người khác")
        self.camera(page, "sign-voted")
        self.go(admin, "/desk/admin", "admin-waiting")

    # ----------------------------------------------------------------------------------------------------- training
    def training(self) -> None:
        """What only a delay, a portal's word or realm training shows."""
        town, who = self.town, self.town.citizens[MAI]
        body = {"agency": "H1", "person": {"national_id": who.number, "name": who.name},
                "vouched": {"level": "2", "email": "mai@tap-huan.example", "subject": "p"}}  # fmt: skip
        mai = self.at(MAI)
        page = mai.page
        page.goto(town.portal.post("/api/v1/enrolments", json=body).json()["link"])
        mai.press("#send")
        page.locator("#code:visible").wait_for()
        self.camera(page, "enrol-code")
        page.fill("#digits", re.search(r"\b\d{6}\b", newest(town))[0])
        page.click("#code button")
        page.locator("[data-view=consent]").wait_for()
        page.click("label.check")
        page.click("#consent")
        page.click("#make")
        page.locator("[data-view=waiting]").wait_for()
        self.camera(page, "enrol-waiting")
        asked = town.ask(signer(who, place=UNDER_THE_NAME))
        page.goto(asked.links[0])
        self.camera(page, "sign-phone-waits")
        until(lambda: "/e/stop/" in newest(town), 30)
        page.goto(re.search(r"http://\S+/e/stop/\S+", newest(town))[0])
        self.camera(page, "enrol-stop")
        mai.press("#stop")
        page.locator("[data-view=stopped]").wait_for()
        self.camera(page, "enrol-stopped")
        page.goto(asked.links[0])
        mai.press(".to-enrol")
        mai.press("#login")
        page.locator("#number").wait_for()
        self.camera(page, "training-login")
        page.fill("#number", "999000000001")
        page.fill("#name", "Nguyễn Thị Tập")
        page.click("button.main")
        page.locator("[data-view=refused]").wait_for()
        self.camera(page, "enrol-not-you")
        asked = town.ask(signer(town.citizens[AN], place=UNDER_THE_NAME))
        an = self.at(AN).open(asked.links[0])
        an.read()
        self.camera(an.page, "sign-read-training")

    def guide(self) -> None:
        """The guided practice: its first page, and each step as it is met."""
        page = self.page()
        page.goto(f"{self.town.url}/training")
        self.camera(page, "training")
        page.click("form[action='/training/start'] button")
        page.wait_for_url("**/training/step/person")
        for step in STEPS:
            page.goto(f"{self.town.url}/training/step/{step}")
            self.camera(page, f"training-{step}")


def production(folder: Path, browser, camera: Camera) -> None:
    """Citizens, the desk, administrators."""
    people = {MAI: False, **dict.fromkeys((BINH, CHI, DUNG, EM, GIANG, HOA, KIM, LAN), True)}
    with TownHere(folder / "production", people) as town:
        shoot = Shoot(town, browser, camera)
        for part in (
            shoot.first_time, shoot.together, shoot.many_and_digests, shoot.trouble, shoot.official, shoot.clerk,
            shoot.administrator,
        ):  # fmt: skip
            part()


def training(folder: Path, browser, camera: Camera) -> None:
    """The same house where people practise, with a delay of a day."""
    how = {"DAUSO_ENROL_DELAY_HOURS": "24", "DAUSO_ENROL_PORTAL_LEVELS": "2", "DAUSO_IDENTITY_ISSUER": ""}
    with TownHere(folder / "training", {MAI: False, AN: True}, Realm.TRAINING, **how) as town:
        shoot = Shoot(town, browser, camera)
        shoot.training()
        shoot.guide()
