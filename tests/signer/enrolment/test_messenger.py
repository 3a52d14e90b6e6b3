"""Letters: a real SMTP conversation, with and without TLS, and letters that wait until they have left."""

import asyncio
import contextlib
import email
import email.policy
import ssl

import pytest
import sqlalchemy as sa
import trustme

from core.errors import Refused, ServiceError, Unavailable
from core.settings import Settings
from core.values import Realm
from signer.enrolment.messenger import FolderMessenger, SmtpMessenger
from signer.enrolment.records import notice_table
from signer.enrolment.wiring import make_messenger


class Relay:
    """RFC 5321, as much of it as a client needs; ``replies`` overrides an answer by verb."""

    def __init__(self, tls=None, **replies) -> None:
        self.tls, self.replies, self.letters, self.lines = tls, replies, [], []

    @contextlib.asynccontextmanager
    async def here(self):
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()

    async def _talk(self, reader, writer):
        def say(line):
            writer.write(line.encode() + b"\r\n")

        say("220 relay")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while line := await reader.readline():
                verb = line.split()[0].decode().upper() if line.split() else ""
                self.lines.append((verb, line.decode().strip(), writer.get_extra_info("ssl_object") is not None))
                if verb in self.replies:
                    say(self.replies[verb])
                elif verb == "EHLO":
                    inside = writer.get_extra_info("ssl_object") is not None
                    say("250-relay\r\n250 " + ("STARTTLS" if self.tls and not inside else "AUTH PLAIN"))
                elif verb == "STARTTLS":
                    say("220 go on")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                elif verb == "DATA":
                    say("354 go on")
                    self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                    say("250 kept")
                elif verb == "AUTH":
                    say("235 welcome")
                else:
                    say("221 bye" if verb == "QUIT" else "250 good")
                await writer.drain()
                if verb == "QUIT":
                    break
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def read(letter: bytes):
    return email.message_from_bytes(letter.removesuffix(b".\r\n"), policy=email.policy.default)


async def test_a_letter_arrives_whole_over_verified_tls(clock):
    ca = trustme.CA()
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(inside)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    relay = Relay(tls=inside)
    async with relay.here() as port:
        sender = SmtpMessenger(
            host="localhost",
            port=port,
            sender="no-reply@example.vn",
            clock=clock,
            user="u",
            password="geheim-9",
            trust=trust,
        )
        await sender.send("ba.tap@example.vn", "Mã đăng ký: 123456", "Xin chào.\n.\nMã: 123456")
        assert "geheim" not in repr(sender)
        strict = SmtpMessenger(host="localhost", port=port, sender="no-reply@example.vn", clock=clock)
        with pytest.raises(Unavailable, match=r"messenger\.unavailable"):  # a certificate nobody vouches for
            await strict.send("ba.tap@example.vn", "s", "t")
    letter = read(relay.letters[0])
    assert (letter["To"], letter["Subject"]) == ("ba.tap@example.vn", "Mã đăng ký: 123456")
    assert "Mã: 123456" in letter.get_content()
    assert all(inside for verb, _, inside in relay.lines if verb in {"AUTH", "MAIL", "RCPT", "DATA"})
    assert len(relay.letters) == 1


async def test_a_relay_that_cannot_do_tls_gets_nothing_unless_told(clock):
    relay = Relay()
    async with relay.here() as port:
        sender = SmtpMessenger(host="localhost", port=port, sender="a@b.vn", clock=clock)
        with pytest.raises(Unavailable):
            await sender.send("c@d.vn", "s", "t")
        assert not any(verb in {"MAIL", "DATA"} for verb, _, _ in relay.lines)
        plain = make_messenger(
            Settings(mail_host="localhost", mail_port=port, mail_starttls=False), Realm.PRODUCTION, clock
        )
        await plain.send("c@d.vn", "s", "t")
    assert len(relay.letters) == 1


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({"RCPT": "550 nobody"}, "messenger.refused"), ({"RCPT": "451 later"}, "messenger.unavailable"),
        ({"MAIL": "550 not you"}, "messenger.refused"), ({"EHLO": "421 closing", "HELO": "421 closing"}, "messenger.unavailable"),
    ],
)  # fmt: skip
async def test_what_a_relay_refuses_is_told_by_code_without_the_address(clock, replies, code):
    async with Relay(**replies).here() as port:
        sender = SmtpMessenger(host="localhost", port=port, sender="a@b.vn", clock=clock, starttls=False)
        with pytest.raises(ServiceError) as caught:
            await sender.send("bi.mat@example.vn", "s", "t")
    assert caught.value.code == code
    assert "bi.mat" not in f"{caught.value} {caught.value.evidence}"


async def test_nobody_at_the_relay(clock):
    async with Relay().here() as port:
        pass
    with pytest.raises(Unavailable, match=r"messenger\.unavailable"):
        await SmtpMessenger(host="localhost", port=port, sender="a@b.vn", clock=clock).send("c@d.vn", "s", "t")


async def test_a_letter_for_practice_is_a_file(clock, tmp_path):
    messenger = make_messenger(Settings(home=tmp_path), Realm.TRAINING, clock)
    assert isinstance(messenger, FolderMessenger)
    await messenger.send("tap@tap-huan.example", "Mã", "123456")
    (file,) = (tmp_path / "mail").glob("*.eml")
    assert "123456" in read(file.read_bytes()).get_content()
    assert file.stat().st_mode & 0o077 == 0


async def test_a_notice_waits_for_a_relay_that_is_away_and_is_emptied_when_it_has_left(village):
    person = await village.citizen()
    async with village.db.write() as uow:
        await village.phones.people.set_contact(uow, person, "tap@example.vn")
        assert await village.phones.letters.write(uow, person, "suspended", also="moi@example.vn")
    village.box.broken = Unavailable("messenger.unavailable")
    assert await village.phones.letters.flush() == 0
    village.box.broken = None
    assert await village.phones.letters.flush() == 0  # not before its time
    village.clock.move(seconds=31)
    assert await village.phones.letters.flush() == 2
    assert sorted(to for to, _, _ in village.box.letters) == ["moi@example.vn", "tap@example.vn"]
    async with village.db.read() as uow:
        rows = (await uow.execute(sa.select(notice_table))).all()
    assert {(row.state, row.sealed) for row in rows} == {("sent", None)}


async def test_a_notice_that_can_never_be_sent_is_given_up(village):
    person = await village.citizen()
    for broken, tries in ((Refused("messenger.refused"), 1), (Unavailable("messenger.unavailable"), 10)):
        async with village.db.write() as uow:
            await village.phones.letters.write(uow, person, "suspended", also="moi@example.vn")
        village.box.broken = broken
        for _ in range(tries + 2):
            await village.phones.letters.flush()
            village.clock.move(hours=2)
        async with village.db.read() as uow:
            newest = (await uow.execute(sa.select(notice_table).order_by(notice_table.c.id.desc()))).first()
        assert (newest.state, newest.tries, newest.sealed) == ("failed", tries, None)


async def test_a_person_without_address_gets_no_letter(village):
    person = await village.citizen()
    async with village.db.write() as uow:
        assert not await village.phones.letters.write(uow, person, "suspended")


ODD = [
    "=?utf-8?q?x=40evil=2Ecom=2C?=@ok.vn", "=?utf-8?q?a=0d=0aBcc=3aevil=40x.com?=@ok.vn", "victim(c)@evil.com", "a\x00b@x.vn",
    "[x@vn", "đ@x.vn", "a\x1b@x.vn", "x@a..b.vn", "x@.b.vn", "x@b.vn.", "x@-b.vn", ".x@b.vn", "x.@b.vn", "x..y@b.vn", "x%y@b.vn",
    "a@b.vn\n", "a@b.vn,c@d.vn", "a b@c.vn", '"a"@b.vn', "a@b@c.vn", "@b.vn", "a@", f"{'a' * 65}@b.vn", f"a@{'b' * 64}.vn",
    f"a@{'b.' * 130}vn", "",
]  # fmt: skip


@pytest.mark.parametrize("address", ODD)
async def test_an_address_that_a_header_could_read_in_two_ways_is_none(village, address):
    person = await village.citizen()
    with pytest.raises(ServiceError, match=r"people\.bad_email"):
        await village.phones.invite(person, email=address)


@pytest.mark.parametrize("address", ["ba.tap+xa@thu.example.vn", "a@b", "A_1-2'3@x-y.vn", f"{'a' * 64}@b.vn"])
async def test_plain_addresses_stay(village, address):
    person = await village.citizen()
    await village.phones.invite(person, email=address)
    async with village.db.read() as uow:
        assert await village.phones.people.contact(uow, person) == address


@pytest.mark.parametrize(
    "address", ["=?utf-8?q?a=0d=0ab?=@ok.vn", "x@a..b.vn", "a@b.vn, c@d.vn", "[x@vn", "a\r\nBcc: c@d.vn"]
)
async def test_a_letter_to_an_odd_address_is_refused_and_never_another_letter(clock, tmp_path, address):
    messenger = FolderMessenger(folder=tmp_path, clock=clock)
    with pytest.raises(Refused, match=r"messenger\.refused"):
        await messenger.send(address, "s", "t")
    assert not list(tmp_path.iterdir())


async def test_whatever_goes_wrong_with_one_letter_the_others_leave_and_serving_goes_on(village):
    """An address kept from before the pattern was strict, and a library that raises what nobody foresaw."""
    person, letters = await village.citizen(), village.phones.letters
    real = village.box.send

    async def send(to, subject, text):
        if to == "odd@example.vn":
            raise ValueError("invalid arguments; address parts cannot contain CR or LF")
        await real(to, subject, text)

    village.box.send = send
    serving = asyncio.create_task(village.phones.serve())
    async with village.db.write() as uow:
        await letters.write(uow, person, "suspended", also="odd@example.vn")
        await letters.write(uow, person, "suspended", also="good@example.vn")
    async with asyncio.timeout(90):
        while (await _states(village)) != ["failed", "sent"]:
            letters.bell.set()
            await asyncio.sleep(0.05)
    assert [to for to, _, _ in village.box.letters] == ["good@example.vn"]
    assert not serving.done()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _states(village):
    async with village.db.read() as uow:
        return sorted((await uow.execute(sa.select(notice_table.c.state))).scalars())
