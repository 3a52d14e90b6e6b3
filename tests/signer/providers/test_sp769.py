"""The simulated service with every fault: each leads to a stable code, and nothing that does not verify is ever used."""

import asyncio
import io
import shutil
import subprocess

import pytest
import sqlalchemy as sa
from asn1crypto import x509 as asn1_x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from core import logs
from core.certificates import Certificate
from core.errors import Broken, NotFound, Refused, ServiceError, Unavailable
from core.jobs import Again
from core.outbound import Outbound
from core.values import Digest
from signer.ceremony import profile_of
from signer.formats import pades
from signer.providers.records import transaction_table
from signer.providers.values import value_of
from tests.signer.providers.city import DIGEST, PASSWORD, USER, blank_form, signed, words


def verifies(value, credential) -> bool:
    return value_of(value, DIGEST, Certificate.parse(credential.certificate), credential.key.algorithm) == value


async def row_of(town, order):
    async with town.db.read() as uow:
        t = transaction_table
        return (await uow.execute(sa.select(t).where(t.c.order_id == order))).one()


@pytest.mark.parametrize(
    "faults", ["", "pkcs7", "tran-code-as-id", "slow", "lost-callback", "forged-callback", "http-500"]
)
async def test_what_only_delays_or_dresses_the_value_ends_in_the_same_raw_value(town, faults):
    credential = await town.desk().link(town.person_id, "sp769", USER)
    town.set(faults)
    order = town.order()
    async with asyncio.timeout(20):
        value = await town.desk().wait(order, credential, DIGEST, words)
    assert len(value) == 256 and verifies(value, credential)
    assert len(town.simulator.transactions) == 1
    assert (await row_of(town, order)).state == "done"
    assert await town.desk().sign(order, credential, DIGEST, words) == value, "who comes later gets the same"


@pytest.mark.parametrize(
    ("faults", "code", "state"),
    [
        ("refused", "provider.refused", "refused"),
        ("expired", "provider.expired", "expired"),
        ("wrong-signature", "provider.wrong_signature", "failed"),
        ("wrong-signature,pkcs7", "provider.wrong_signature", "failed"),
        ("other-certificate", "provider.wrong_signature", "failed"),
        ("other-certificate,pkcs7", "provider.other_certificate", "failed"),
        ("http-500,tran-code-as-id", "provider.lost_answer", "failed"),
    ],
)
async def test_each_bad_end_has_its_code_and_stays_the_end(town, faults, code, state):
    credential = await town.desk().link(town.person_id, "sp769", USER)
    town.set(faults)
    order = town.order()
    for _ in range(2):  # the second time nobody is asked
        async with asyncio.timeout(20):
            with pytest.raises(ServiceError) as refusal:
                await town.desk().wait(order, credential, DIGEST, words)
        assert refusal.value.code == code
        town.set("")
    row = await row_of(town, order)
    assert (row.state, row.code, row.value) == (state, code, None)
    assert len(town.simulator.transactions) == 1


async def test_a_forged_callback_changes_nothing(town):
    desk = town.desk()
    credential = await desk.link(town.person_id, "sp769", USER)
    town.simulator.auto = None
    order = town.order()
    with pytest.raises(Again):
        await desk.sign(order, credential, DIGEST, words)
    name = (await row_of(town, order)).transaction_id
    for told in (name, name, "0" * 32, "../../etc", ""):
        desk.hint("sp769", told)
        desk.hint("another", told)
    await asyncio.sleep(0.2)
    row = await row_of(town, order)
    assert (row.state, row.value, town.settled) == ("confirmed", None, [])


async def test_a_hint_ends_the_rest_at_once_and_tells_who_waits(town):
    desk = town.desk(pauses=type(town.desk().transactions.pauses)(first=30, longest=30, hint=0.02, lost=60))
    credential = await desk.link(town.person_id, "sp769", USER)
    town.simulator.auto = None
    order = town.order()
    waiting = asyncio.create_task(desk.wait(order, credential, DIGEST, words))
    while not town.simulator.transactions:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    town.simulator.decide(town.simulator.transactions[0].code, approve=True)
    desk.hint("sp769", town.simulator.transactions[0].id)
    async with asyncio.timeout(5):
        assert verifies(await waiting, credential)
    await asyncio.sleep(0.05)
    assert town.settled == [order]


class Losing(Outbound):
    """The answer to ``sign`` never arrives; ``dies``: neither does this process live on."""

    def __init__(self, dies: bool, **more) -> None:
        super().__init__(**more)
        self.dies = dies

    async def fetch(self, url, **more):
        answer = await super().fetch(url, **more)
        if url.endswith("/sign"):
            raise asyncio.CancelledError if self.dies else Unavailable("outbound.too_slow")
        return answer


@pytest.mark.parametrize("dies", [True, False])
async def test_a_lost_answer_and_a_crash_before_it_make_no_second_transaction(towns, dies):
    credential = await towns.desk().link(towns.person_id, "sp769", USER)
    order = towns.order()
    losing = towns.desk(Losing(dies, private=frozenset({f"127.0.0.1:{towns.port}"})))
    with pytest.raises(asyncio.CancelledError if dies else Again):
        await losing.sign(order, credential, DIGEST, words)
    assert (await row_of(towns, order)).state == "pending"
    async with asyncio.timeout(20):
        assert verifies(await towns.desk().wait(order, credential, DIGEST, words), credential)
    assert len(towns.simulator.transactions) == 1


async def test_many_at_once_ask_once(towns):
    credential = await towns.desk().link(towns.person_id, "sp769", USER)
    order = towns.order()
    async with asyncio.timeout(20):
        values = await asyncio.gather(*(towns.desk().wait(order, credential, DIGEST, words) for _ in range(5)))
    assert len(set(values)) == 1
    assert len(towns.simulator.transactions) == 1


async def test_where_nothing_was_sent_the_next_look_asks_until_the_time_is_over(town):
    desk = town.desk()
    credential = await desk.link(town.person_id, "sp769", USER)
    closed = town.desk(Outbound())  # the address is an inner one that nobody allowed: no connection is made
    order = town.order()
    for _ in range(2):
        with pytest.raises(Again):
            await closed.sign(order, credential, DIGEST, words)
        assert (await row_of(town, order)).submitted_at is None
    async with asyncio.timeout(20):
        assert verifies(await desk.wait(order, credential, DIGEST, words), credential)
    late = town.order()
    with pytest.raises(Again):
        await closed.sign(late, credential, DIGEST, words)
    town.clock.ahead += closed.transactions.clock.now() - town.clock.now()
    town.clock.ahead += (await row_of(town, late)).deadline - town.clock.now()
    with pytest.raises(Refused, match=r"provider\.no_answer"):
        await closed.sign(late, credential, DIGEST, words)


async def test_a_person_who_does_nothing_lets_the_order_expire_and_a_late_word_is_not_used(town):
    desk = town.desk()
    credential = await desk.link(town.person_id, "sp769", USER)
    town.simulator.auto, town.simulator.seconds = None, 600
    order = town.order()
    with pytest.raises(Again):
        await desk.sign(order, credential, DIGEST, words)
    row = await row_of(town, order)
    town.simulator.transactions[0].ends_at = row.deadline.replace(year=row.deadline.year + 1)
    town.clock.ahead = row.deadline - town.clock.now() + town.clock.ahead
    town.clock.ahead += type(town.clock.ahead)(seconds=20)
    with pytest.raises(Refused, match=r"provider\.expired"):
        await desk.sign(order, credential, DIGEST, words)
    town.simulator.decide(town.simulator.transactions[0].code, approve=True)
    with pytest.raises(Refused, match=r"provider\.expired"):
        await desk.sign(order, credential, DIGEST, words)


async def test_an_order_serves_one_digest(towns):
    _, credential = await signed(towns, order := towns.order())
    with pytest.raises(Broken, match=r"provider\.other_digest"):
        await towns.desk().sign(order, credential, Digest.of(b"swapped"), words)


async def test_a_value_changed_in_the_table_is_not_handed_out(town):
    _, credential = await signed(town, order := town.order())
    async with town.db.write() as uow:
        await uow.execute(transaction_table.update().values(value=bytes(256)))
    with pytest.raises(Broken, match=r"provider\.wrong_signature"):
        await town.desk().sign(order, credential, DIGEST, words)


async def test_wrong_credentials_of_ours_end_it(town):
    desk = town.desk()
    credential = await desk.link(town.person_id, "sp769", USER)
    town.simulator.sp_password = "another"
    with pytest.raises(Refused, match=r"provider\.not_allowed"):
        await desk.wait(town.order(), credential, DIGEST, words)
    with pytest.raises(Refused, match=r"provider\.not_allowed"):
        await desk.link(town.person_id, "sp769", USER)


async def test_nothing_secret_or_personal_is_logged_said_or_kept_in_clear(towns, capsys):
    logs.configure("debug")
    desk = towns.desk()
    credential = await desk.link(towns.person_id, "sp769", USER)
    errors = []
    for faults in ("", "http-500", "refused", "wrong-signature", "other-certificate,pkcs7"):
        towns.set(faults)
        try:
            await desk.wait(towns.order(), credential, DIGEST, words)
        except ServiceError as error:
            errors.append(f"{error} {error.plain()} {error.__cause__}")
    said = "".join(capsys.readouterr()) + "".join(errors) + repr(desk)
    assert "provider.untrue" in said
    rows = []
    async with towns.db.read() as uow:
        for table in ("provider_account", "provider_transaction", "credential"):
            columns = "sealed_user" if table == "provider_account" else "*"
            rows += [bytes(v) if isinstance(v, bytes | memoryview) else str(v).encode()
                     for row in await uow.exec_driver_sql(f"SELECT {columns} FROM {table}") for v in row]  # fmt: skip
    kept = b"".join(r for r in rows if b"\x30\x82" not in r[:2])  # certificates are public and name their person
    for secret in (PASSWORD, USER):
        assert secret not in said
        assert secret.encode() not in kept


async def test_a_document_signed_through_the_service_is_good_to_other_peoples_validators(town, tmp_path):
    desk = town.desk()
    town.set("pkcs7")
    credential = await desk.link(town.person_id, "sp769", USER)
    profile = profile_of(credential)
    prepared = pades.prepare(
        blank_form(), field="A", profile=profile, signed_at=town.clock.now(), signer_name="Người Thử Một"
    )
    async with asyncio.timeout(20):
        value = await desk.wait(town.order(), credential, prepared.to_sign, words)
    done = pades.embed(prepared, profile.signed_data(prepared.signed_attributes, value))
    pades.check(done, prepared, credential.certificate)
    context = ValidationContext(trust_roots=[asn1_x509.Certificate.load(credential.chain[-1])], moment=town.clock.now())
    status = await async_validate_pdf_signature(PdfFileReader(io.BytesIO(done)).embedded_signatures[0], context)
    assert status.bottom_line and status.trusted
    if shutil.which("pdfsig"):
        (tmp_path / "a.pdf").write_bytes(done)
        told = subprocess.run(["pdfsig", "-nocert", tmp_path / "a.pdf"], capture_output=True, text=True, check=False)
        assert "Signature is Valid" in told.stdout


async def test_a_service_that_nobody_configured_is_unknown(town):
    with pytest.raises(NotFound, match=r"provider\.unknown"):
        await town.desk().link(town.person_id, "mysign", USER)
    assert town.desk().names == {"sp769"}
