"""Callers of one key share calls: how many, how large, and what one caller's fate means to the others."""

import asyncio

import pytest

from core.errors import Broken, Unavailable
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.transit.answers import Asked
from signer.keystores.transit.gathering import Gathering

P256, RSA = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA256


def ref_of(name: str = "seal-a", algorithm: SignatureAlgorithm = P256) -> KeyRef:
    return KeyRef(store="transit", name=name, version=1, purpose=KeyPurpose.SEAL, algorithm=algorithm, spki=b"")


class Server:
    """Answers each item with its digest, when it is let."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Asked]]] = []
        self.open = asyncio.Event()
        self.now, self.most = 0, 0
        self.error: BaseException | None = None
        self.gathering = Gathering(self.send, self.read)

    async def send(self, ref, asked):
        self.calls.append((ref.name, list(asked)))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        if self.error:
            raise self.error
        return {"values": [one.to_sign.value for one in asked]}

    async def read(self, ref, asked, answer):
        return answer["values"]

    @property
    def sizes(self) -> list[int]:
        return [len(asked) for _, asked in self.calls]

    def ask(self, number: int, ref: KeyRef | None = None) -> asyncio.Task:
        asked = [Asked(Digest.of(b"%d" % number), f"e{number}")]
        return asyncio.create_task(self.gathering.sign(ref or ref_of(), asked))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def server():
    return Server()


async def test_one_alone_goes_at_once(server):
    server.open.set()
    assert await server.ask(1) == [Digest.of(b"1").value]
    assert server.sizes == [1]
    assert not server.gathering._lines and not server.gathering._waiting


async def test_those_that_arrive_meanwhile_go_together_in_the_next(server):
    tasks = [server.ask(0)]
    await settle()
    tasks += [server.ask(n) for n in range(1, 50)]
    await settle()
    assert server.sizes == [1]
    server.open.set()
    assert await asyncio.gather(*tasks) == [[Digest.of(b"%d" % n).value] for n in range(50)]
    assert server.sizes == [1, 49]
    assert not server.gathering._lines and not server.gathering._waiting


async def test_keys_do_not_wait_for_each_other(server):
    tasks = [server.ask(n, ref_of(f"seal-{n}")) for n in range(5)]
    await settle()
    assert server.now == 5
    server.open.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("algorithm", "limit"), [(P256, "transit.batch"), (RSA, "transit.rsa_batch")])
async def test_a_call_is_never_larger_than_its_limit_and_calls_of_a_key_are_bounded(server, algorithm, limit):
    asked = [Asked(Digest.of(b"%d" % n), "e") for n in range(1_001)]
    task = asyncio.create_task(server.gathering.sign(ref_of(algorithm=algorithm), asked))
    await settle()
    server.open.set()
    assert await task == [one.to_sign.value for one in asked]
    assert max(server.sizes) == LIMITS[limit] and sum(server.sizes) == 1_001
    assert server.most == LIMITS["transit.key_calls"]


async def test_calls_under_way_are_bounded_over_all_keys(server):
    tasks = [server.ask(n, ref_of(f"seal-{n}")) for n in range(100)]
    await settle()
    assert server.now == LIMITS["transit.calls"]
    server.open.set()
    await asyncio.gather(*tasks)
    assert server.most == LIMITS["transit.calls"]


async def test_long_messages_are_split_by_bytes(server, monkeypatch):
    monkeypatch.setitem(LIMITS, "transit.batch_bytes", 1_000)
    server.open.set()
    asked = [Asked(Message(b"x" * 400), "e") for _ in range(5)] + [Asked(Message(b"x" * 5_000), "e")]
    assert len(await server.gathering.sign(ref_of(algorithm=SignatureAlgorithm.ED25519), asked)) == 6
    assert server.sizes == [2, 2, 1, 1]


async def test_whoever_gives_up_while_waiting_is_not_sent_and_the_others_are(server):
    tasks = [server.ask(n) for n in range(6)]
    await settle()
    tasks[3].cancel()
    await settle()
    server.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    assert [r[0] for n, r in enumerate(results) if n != 3] == [Digest.of(b"%d" % n).value for n in (0, 1, 2, 4, 5)]
    assert server.sizes == [1, 4]


async def test_whoever_gives_up_in_the_middle_of_a_call_leaves_the_call_alone(server):
    first = server.ask(0)
    await settle()
    others = [server.ask(n) for n in (1, 2)]
    first.cancel()
    await settle()
    server.open.set()
    assert await asyncio.gather(*others) == [[Digest.of(b"1").value], [Digest.of(b"2").value]]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_error_of_a_call_is_told_to_each_of_its_callers_and_to_no_other(server):
    first = server.ask(0)
    await settle()
    group = [server.ask(n) for n in (1, 2)]
    await settle()
    server.error = Unavailable("key.outcome_unknown")
    server.open.set()
    (one,), (two,), (three,) = await asyncio.gather(first, *group)
    assert {e.code for e in (one, two, three)} == {"key.outcome_unknown"}
    assert len({id(e) for e in (one, two, three)}) == 3
    server.error = None
    assert await server.ask(4) == [Digest.of(b"4").value]


async def test_a_mistake_in_a_call_reaches_its_callers_and_the_line_goes_on(server):
    server.error = RuntimeError("ours")
    server.open.set()
    with pytest.raises(RuntimeError, match="ours"):
        await server.ask(1)
    server.error = None
    assert await server.ask(2) == [Digest.of(b"2").value]
    assert not server.gathering._lines


async def test_an_item_that_fails_fails_alone(server):
    async def send(ref, asked):
        return {}

    async def read(ref, asked, answer):
        return [Broken("key.wrong_signature", key="k") if one.event_id == "e1" else b"good" for one in asked]

    gathering = Gathering(send, read)
    results = await asyncio.gather(*(gathering.sign(ref_of(), [Asked(Digest.of(b"x"), f"e{n}")]) for n in range(3)))
    assert [r if isinstance(r, bytes) else r.code for (r,) in results] == [b"good", "key.wrong_signature", b"good"]


async def test_more_than_may_wait_are_turned_away_at_once(server, monkeypatch):
    monkeypatch.setitem(LIMITS, "transit.waiting", 10)
    tasks = [server.ask(n) for n in range(11)]
    await settle()
    with pytest.raises(Unavailable, match=r"key\.unavailable"):
        await server.ask(12)
    server.open.set()
    assert len(await asyncio.gather(*tasks)) == 11


async def test_the_next_call_leaves_before_the_answer_of_the_last_is_read(server):
    reading = asyncio.Event()

    async def read(ref, asked, answer):
        await reading.wait()
        return answer["values"]

    server.gathering = Gathering(server.send, read)
    tasks = [server.ask(0)]
    await settle()
    tasks.append(server.ask(1))
    server.open.set()
    await settle()
    assert server.sizes == [1, 1] and not any(task.done() for task in tasks)
    reading.set()
    await asyncio.gather(*tasks)


async def test_the_first_who_gives_up_lets_the_next_go(server):
    first = server.ask(0)
    await settle()
    second = server.ask(1)
    await settle()
    first.cancel()
    await settle()
    assert server.sizes == [1, 1]
    server.open.set()
    assert await second == [Digest.of(b"1").value]
    assert not server.gathering._lines


async def test_nobody_waits_for_ever_when_the_loop_ends(server):
    tasks = [server.ask(n) for n in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    (under_way,) = server.gathering._tasks
    under_way.cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert [type(one) for one in results] == [asyncio.CancelledError] * 3
