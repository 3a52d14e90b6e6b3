"""A proxy between our store and a real server makes the faults that keystores.md §3.2 and §8 warn of."""

import asyncio
import base64
import contextlib

import pytest

from core.errors import BadInput, Broken, ServiceError, Unavailable
from core.values import Digest, Message, SignatureAlgorithm
from core.vault import Vault, VaultConfig
from signer.keystores.model import KeyPurpose, checked, is_away
from signer.keystores.transit import TransitKeyStore
from tests.signer.keystores.bao import MOUNTS, prepare, town
from tests.signer.keystores.bending import Bending, cut, data, late, rows, status
from tests.signer.keystores.contract import name_for, refused

P = KeyPurpose.DOCUMENT
P256, ED25519 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ED25519
DIGEST = Digest.of(b"x")
THREE = [Digest.of(b"%d" % n) for n in range(3)]


@pytest.fixture(scope="module")
def tokens(openbao):
    return prepare(openbao)


@pytest.fixture(scope="module")
def proxy(openbao):
    with Bending(openbao.url) as made:
        yield made


@pytest.fixture
async def here(openbao, tokens, proxy, tmp_path):
    proxy.seen.clear()
    async with town(openbao, tokens, tmp_path, through=proxy.url, seconds=1.0) as made:
        yield made
    assert not proxy._bends, "a fault that no request met"


@pytest.fixture
async def ref(here):
    return await here.store.create(name_for(), P, P256)


async def sign(here, ref, what=DIGEST):
    return await here.store.sign(ref, what, purpose=P, event_id="e1")


async def batch(here, ref, items=THREE):
    return await here.store.sign_batch(ref, items, purpose=P, event_id="e1")


def signature(change):
    """The first row's signature, changed."""

    def bend(told):
        told[0]["signature"] = change(told[0]["signature"])

    return rows(bend)


def flipped(form: str, at: int) -> str:
    prefix, value = form.rsplit(":", 1)
    raw = bytearray(base64.b64decode(value))
    raw[at] ^= 1
    return f"{prefix}:{base64.b64encode(raw).decode()}"


def url_safe(form: str) -> str:
    prefix, value = form.rsplit(":", 1)
    return f"{prefix}:{base64.urlsafe_b64encode(base64.b64decode(value)).rstrip(b'=').decode()}-"


FAULTS = {
    "truncated": (signature(lambda s: s[:-8]), "key.wrong_signature"),
    "cut to nothing": (signature(lambda _: "vault:v1:"), "key.wrong_signature"),
    "first bit flipped": (signature(lambda s: flipped(s, 0)), "key.wrong_signature"),
    "last bit flipped": (signature(lambda s: flipped(s, -1)), "key.wrong_signature"),
    "url-safe base64": (signature(url_safe), "key.wrong_signature"),
    "without prefix": (signature(lambda s: s.rsplit(":", 1)[1]), "key.wrong_signature"),
    "another version": (signature(lambda s: s.replace(":v1:", ":v2:")), "key.wrong_version"),
    "no rows": (data(lambda _: {"nothing": 1}), "key.outcome_unknown"),
    "the row of another": (rows(lambda told: [told[0] | {"reference": "7.e7"}]), "key.outcome_unknown"),
    "an error at the item": (rows(lambda told: [{"error": "no", "reference": "0.e1"}]), "key.bad_input"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_with_a_fault_is_not_released_and_the_next_is(here, ref, proxy, fault):
    bend, code = FAULTS[fault]
    proxy.bend(bend)
    assert (await refused(sign(here, ref))).code == code
    assert checked(ref, DIGEST, await sign(here, ref))


@pytest.mark.parametrize(
    "asked", ["key_version", "marshaling_algorithm", "prehashed", "signature_algorithm", "salt_length"]
)
async def test_trap_a_parameter_that_did_not_arrive_gives_a_value_that_is_not_released(
    openbao, tokens, here, asked, proxy
):
    """What the server makes of its own defaults: the same request without the parameter, answered by the real server."""
    wrong = {"marshaling_algorithm": "jws", "prehashed": False, "key_version": "2"}
    algorithm = SignatureAlgorithm.RSA_PSS_SHA256 if asked == "salt_length" else P256
    algorithm = SignatureAlgorithm.RSA_PKCS1_SHA256 if asked == "signature_algorithm" else algorithm
    ref = await here.store.create(name_for(), P, algorithm)
    await here.rotate(ref)
    assert checked(ref, DIGEST, await sign(here, ref))
    body = dict(proxy.calls()[-1][2])
    del body[asked]
    if asked in wrong:
        body[asked] = wrong[asked]
    answer = openbao.api("POST", f"{ref.place}/sign/{ref.name}", body)["data"]
    proxy.bend(data(lambda _: answer))
    assert (await refused(sign(here, ref))).code in {"key.wrong_signature", "key.wrong_version"}


async def test_trap_ed25519_hashed_before_it_is_signed_is_not_released(here, openbao, proxy):
    ref = await here.store.create(name_for(), P, ED25519)
    message = Message(b"signed attributes")
    assert checked(ref, message, await sign(here, ref, message))
    body = dict(proxy.calls()[-1][2])
    assert body["prehashed"] is False and "hash_algorithm" not in body
    hashed = base64.b64encode(Digest.of(message.value).value).decode()
    body |= {"prehashed": True, "batch_input": [{"input": hashed, "reference": "0.e1"}]}
    answer = openbao.api("POST", f"{ref.place}/sign/{ref.name}", body)["data"]
    proxy.bend(data(lambda _: answer))
    made = "signature" in answer["batch_results"][0]  # Vault refuses
    assert (await refused(sign(here, ref, message))).code == ("key.wrong_signature" if made else "key.bad_input")


async def test_trap_a_signature_of_another_mounts_key_is_not_released(here, openbao, ref, proxy):
    await sign(here, ref)
    body = proxy.calls()[-1][2]
    other = next(mount for mount in MOUNTS if mount != ref.place)
    openbao.api("POST", f"{other}/keys/{ref.name}", {"type": "ecdsa-p256"})
    answer = openbao.api("POST", f"{other}/sign/{ref.name}", body)["data"]
    proxy.bend(data(lambda _: answer))
    assert (await refused(sign(here, ref))).code == "key.wrong_signature"


# batches


def released(ref, results) -> list:
    return [
        r.code if isinstance(r, ServiceError) else bool(checked(ref, i, r)) for i, r in zip(THREE, results, strict=True)
    ]


BATCHES = {
    "one error": (rows(lambda t: [t[0], {"error": "no", "reference": "1.e1"}, t[2]]), [True, "key.bad_input", True]),
    "one missing": (rows(lambda t: [t[0], t[2]]), [True, "key.outcome_unknown", True]),
    "another order": (rows(lambda t: t[::-1]), [True, True, True]),
    "another order without references": (
        rows(lambda t: [{"signature": r["signature"]} for r in (t[1], t[0], t[2])]),
        ["key.wrong_signature", "key.wrong_signature", True],
    ),
    "one of another version": (
        rows(lambda t: [t[0], t[1] | {"signature": t[1]["signature"].replace("v1", "v9")}, t[2]]),
        [True, "key.wrong_version", True],
    ),
    "one flipped": (
        rows(lambda t: [t[0] | {"signature": flipped(t[0]["signature"], -1)}, *t[1:]]),
        ["key.wrong_signature", True, True],
    ),
    "one twice": (rows(lambda t: [t[0], t[0], t[2]]), [True, "key.outcome_unknown", True]),
    "none": (rows(lambda _: [7]), ["key.outcome_unknown"] * 3),
}


@pytest.mark.parametrize("fault", BATCHES)
async def test_trap_each_item_of_a_batch_has_its_own_fate(here, ref, proxy, fault):
    bend, expected = BATCHES[fault]
    proxy.bend(bend)
    assert released(ref, await batch(here, ref)) == expected
    assert released(ref, await batch(here, ref)) == [True] * 3


async def test_callers_who_share_a_call_share_nothing_else(here, ref, proxy):
    """The second call holds several callers; one of its items fails."""
    proxy.bend(late(0.2), rows(lambda told: [told[0], {"error": "no", "reference": told[1]["reference"]}, *told[2:]]))
    tasks = [asyncio.create_task(sign(here, ref))]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(sign(here, ref)) for _ in range(5)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [bytes, bytes, BadInput, bytes, bytes, bytes]
    assert [len(body["batch_input"]) for _, _, body in proxy.calls()] == [1, 5]


async def test_trap_201_items_are_several_calls_below_the_servers_limit(here, ref, proxy):
    items = [Digest.of(b"%d" % n) for n in range(201)]
    values = await batch(here, ref, items)
    assert all(checked(ref, item, value) for item, value in zip(items, values, strict=True))
    sizes = [len(body["batch_input"]) for _, _, body in proxy.calls()]
    assert sum(sizes) == 201 and max(sizes) <= 200


async def test_every_call_names_its_version_and_all_its_parameters(here, ref, proxy):
    await asyncio.gather(*(sign(here, ref) for _ in range(7)), batch(here, ref))
    for _, path, body in proxy.calls():
        assert path.endswith(f"/{ref.place}/sign/{ref.name}")
        assert {k: v for k, v in body.items() if k != "batch_input"} == {
            "key_version": "1", "signature_algorithm": "pkcs1v15", "salt_length": "hash", "marshaling_algorithm": "asn1",
            "prehashed": True, "hash_algorithm": "sha2-256",
        }  # fmt: skip


# answers of the server and of the line to it


@pytest.mark.parametrize("code", [412, 429, 472, 473, 500, 503])
async def test_a_passing_fault_is_tried_again(here, ref, proxy, code):
    proxy.bend(status(code))
    assert checked(ref, DIGEST, await sign(here, ref))
    assert len(proxy.calls()) == 2


@pytest.mark.parametrize("code", [429, 503])
async def test_a_fault_that_stays_is_unavailable_and_the_calls_are_few(here, ref, proxy, code):
    proxy.bend(*[status(code)] * 3)
    error = await refused(sign(here, ref))
    proxy._bends.clear()
    assert isinstance(error, Unavailable) and error.code == "key.unavailable"
    assert len(proxy.calls()) <= 3


async def test_a_denied_call_logs_in_again_once_and_goes_on(here, openbao, tokens, proxy, tmp_path):
    policy = "dauso-signer"
    login = openbao.login_for(policy)
    vault = Vault(VaultConfig(url=proxy.url, login=login))
    await vault.start()
    try:
        ref = await here.store.create(name_for(), P, P256)
        store = TransitKeyStore(vault, MOUNTS)
        proxy.bend(status(403, "permission denied"))
        assert checked(ref, DIGEST, await store.sign(ref, DIGEST, purpose=P, event_id="e"))
        assert len(proxy.calls()) == 2
    finally:
        await vault.close()


async def test_a_call_that_stays_denied_says_nothing_about_the_key(here, ref, proxy):
    proxy.bend(status(403, "permission denied"), status(403, "permission denied"))
    error = await refused(sign(here, ref))
    proxy._bends.clear()
    assert is_away(error) and error.code == "key.denied"


async def test_a_key_that_a_standby_does_not_know_yet_is_asked_for_again(here, ref, proxy):
    proxy.bend(*[status(400, "signing key not found")] * 2)
    assert checked(ref, DIGEST, await sign(here, ref))
    proxy.bend(*[status(404)] * 2, on="/keys/")
    assert await here.store.public_key(ref) == ref.spki


async def test_a_key_that_stays_unknown_is_missing_after_a_bounded_time(here, ref, proxy):
    proxy.bend(*[status(400, "signing key not found")] * 4)
    async with asyncio.timeout(5):
        assert (await refused(sign(here, ref))).code == "key.missing"


async def test_a_sealed_server_is_said_to_be_sealed(here, ref, proxy):
    proxy.bend(*[status(503, "Vault is sealed")] * 3)
    error = await refused(sign(here, ref))
    proxy._bends.clear()
    assert isinstance(error, Unavailable) and error.code == "key.sealed"


@pytest.mark.parametrize("how", [cut(), late(1.6), status(502), status(504)], ids=["cut", "late", "502", "504"])
async def test_a_lost_answer_is_an_unknown_outcome_for_every_member_of_the_call(here, ref, proxy, how):
    proxy.bend(late(0.3), how)
    tasks = [asyncio.create_task(sign(here, ref))]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(sign(here, ref)) for _ in range(4)]
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert checked(ref, DIGEST, first)
    assert [(type(e), e.code) for e in others] == [(Unavailable, "key.outcome_unknown")] * 4
    assert checked(ref, DIGEST, await sign(here, ref))


async def test_whoever_gives_up_in_mid_sign_leaves_the_others_their_signatures(here, ref, proxy):
    proxy.bend(late(0.3), late(0.3))
    tasks = [asyncio.create_task(sign(here, ref, digest)) for digest in (*THREE, DIGEST)]
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(r, asyncio.CancelledError) for r in results] == [True, False, True, False]
    assert checked(ref, THREE[1], results[1]) and checked(ref, DIGEST, results[3])


async def test_a_refusal_tells_nothing_of_the_servers_words_or_the_tokens(here, ref, proxy, caplog):
    caplog.set_level("DEBUG")
    proxy.bend(status(400, "words of the server"), status(500, "words of the server"))
    shown = []
    for _ in range(2):
        with contextlib.suppress(ServiceError):
            await sign(here, ref)
        error = await refused(here.store.sign(ref, Message(b"x"), purpose=P, event_id="e"))
        shown += [repr(error), str(error), str(error.evidence), repr(error.__context__)]
    told = "\n".join([*shown, caplog.text, repr(here.store)])
    assert "words of the server" not in told
    assert not any(token in told for token in here.tokens.values())


async def test_an_error_at_an_item_does_not_tell_the_servers_words(here, ref, proxy):
    proxy.bend(rows(lambda told: [{"error": "words of the server", "reference": "0.e1"}]))
    error = await refused(sign(here, ref))
    assert "words" not in str(error) + str(error.evidence)
    assert isinstance(error, BadInput) and not isinstance(error, Broken)
