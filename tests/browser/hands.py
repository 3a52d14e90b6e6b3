"""What a person does on the pages, and what must hold of every page on the way."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError as NotInTime

from tests.browser.signing import Passkeys

_SMALL = (
    "[...document.querySelectorAll('button, summary, .button, label.check, input:not([type=checkbox]), textarea')]"
    ".filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 43.5).map((e) => e.outerHTML)"
)


class Hands:
    """Somebody in front of a browser, with an authenticator in it; ``who.hand`` is in it where there is one."""

    def __init__(self, page, who, *, keyed: bool = True) -> None:
        self.page, self.who, self.faults = page, who, []
        self.keys = Passkeys(page)
        if keyed and who.hand is not None:
            self.keys.put(who.hand)
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    # ------------------------------------------------------------------------------------------------------- any page
    def look(self) -> str:
        """Nothing sideways, no small target, one heading, no barrier that axe knows, no fault; returns the page's words."""
        page = self.page
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], page.url
        assert page.evaluate(_SMALL) == [], page.url
        assert page.locator("h1:visible").count() == 1
        found = Axe().run(page).response["violations"]
        assert not found, (page.url, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found])
        assert self.faults == []
        return page.inner_text("main")

    def heading(self, words: str, seconds: float = 20) -> None:
        """Wait for a heading that says this."""
        self.page.locator(f"h1:visible:has-text('{words}')").wait_for(timeout=1000 * seconds)

    def press(self, what: str) -> None:
        """A button of the page, as soon as its script is there: what is pressed before is pressed for nothing."""
        self.page.locator(".dead").wait_for(state="detached")
        self.page.click(what)

    # ------------------------------------------------------------------------------------------------------ enrolment
    def log_in(self, button: str = "Đăng nhập định danh điện tử") -> None:
        """At the national log-in, as oneself."""
        self.press(f"button:has-text('{button}')")
        self.page.click(f"button[value='{self.who.number}']")

    def enrol(self, *, looks: bool = False) -> None:
        """From the page of an enrolment link to the end: identity, consent, passkey."""
        page = self.page
        page.locator("#enrolment").wait_for(state="attached")
        if looks:
            assert set(self.look().split()) >= AGENCY_ALONE
        self.log_in()
        self.agree(looks=looks)

    def agree(self, *, looks: bool = False) -> None:
        """Consent and passkey."""
        page = self.page
        page.locator("[data-view=consent]").wait_for()
        if looks:
            self.look()
        page.click("label.check")
        page.click("#consent")
        page.locator("[data-view=phone]").wait_for()
        page.click("#make")
        page.locator("[data-view=ready]").wait_for(timeout=30_000)
        if looks:
            self.look()

    # -------------------------------------------------------------------------------------------------------- signing
    def open(self, link: str) -> "Hands":
        """The page of a link, entered."""
        self.page.goto(link)
        self.enter()
        return self

    def enter(self) -> None:
        """Show who one is, so far without signing anything."""
        self.press("#enter")

    def read(self) -> str:
        """The paper is there, drawn; returns the page's words."""
        try:
            self.page.locator("[data-view=reading]").wait_for(timeout=20_000)
        except NotInTime as error:
            raise AssertionError(self.page.inner_text("main")) from error
        self.page.locator("#documents > li").first.wait_for()
        if self.page.locator("#documents > li").count() == 1:
            self.page.locator(".page img[src]").first.wait_for(timeout=20_000)
        return self.page.inner_text("main")

    @property
    def code(self) -> str:
        """The six digits."""
        return self.page.locator(".code").inner_text().replace(" ", "")

    def approve(self) -> None:
        """With the passkey."""
        self.page.click("#approve")

    def sign(self, link: str) -> None:
        """The whole way."""
        self.open(link)
        self.read()
        self.approve()
        self.heading("Đã ký")


AGENCY_ALONE = {"UBND", "Đường", "Lâm"}
