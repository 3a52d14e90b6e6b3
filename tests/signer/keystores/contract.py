"""One contract for all key stores. A store's own test module derives from ``KeyStoreContract`` and gives a ``house``.

::

    class TestMemory(KeyStoreContract):
        @pytest.fixture
        def house(self):
            return House(MemoryKeyStore())
"""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import utils

from core.clock import SystemClock
from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError
from core.ids import new_id
from core.values import Digest, DigestAlgorithm, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef, KeyStore, StoredKey, checked

__all__ = ["House", "KeyStoreContract", "changed", "input_for", "name_for"]

P256 = SignatureAlgorithm.ECDSA_P256_SHA256
P = KeyPurpose.DOCUMENT


@dataclass
class House:
    """A store under test."""

    store: KeyStore
    again: Callable[[], KeyStore] | None = None
    """The same keys through another instance, as another process has it; None where keys live in one instance."""
    rotate: Callable[[KeyRef], Awaitable[None]] | None = None
    """A further version of the key, made in the store itself; None where the store knows no versions."""
    algorithms: Sequence[SignatureAlgorithm] = tuple(SignatureAlgorithm)
    names_lead: bool = True
    """A name is part of a path, of a file or of an address; False where keys live in a dictionary."""
    secrets: Sequence[str] = field(default_factory=tuple)
    """What must never show: PINs, tokens, passphrases."""


def name_for(purpose: KeyPurpose = P) -> str:
    """As callers name keys: the purpose and an id."""
    return f"{purpose.value}-{new_id(SystemClock())}"


def input_for(algorithm: SignatureAlgorithm, data: bytes = b"x") -> Digest | Message:
    return Message(data) if algorithm.digest is None else Digest.of(data, algorithm.digest)


def changed(ref: KeyRef, **members: object) -> KeyRef:
    """A reference changed in its table."""
    return KeyRef.from_json({**ref.to_json(), **members})


def wanted(house: House, algorithm: SignatureAlgorithm) -> SignatureAlgorithm:
    if algorithm not in house.algorithms:
        pytest.skip(f"{house.store.name} has no {algorithm}")
    return algorithm


async def refused(what: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await what
    return caught.value


class KeyStoreContract:
    """What callers rely on, whichever store it is."""

    @pytest.fixture
    def house(self):
        raise NotImplementedError

    @pytest.fixture
    async def ref(self, house):
        return await house.store.create(name_for(), P, P256)

    # signatures

    @pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
    async def test_every_algorithm_signs_in_its_normal_form_and_the_key_port_agrees(self, house, algorithm):
        ref = await house.store.create(name_for(), P, wanted(house, algorithm))
        key = StoredKey(house.store, KeyRef.from_json(ref.to_json()), P, "e1")
        value = await key.sign(input_for(algorithm))
        assert checked(ref, input_for(algorithm), value)
        assert (key.spki, key.algorithm, await house.store.public_key(ref)) == (ref.spki, algorithm, ref.spki)
        if algorithm.value.startswith("ecdsa"):
            assert utils.encode_dss_signature(*utils.decode_dss_signature(value)) == value
        else:
            assert len(value) == (64 if algorithm is SignatureAlgorithm.ED25519 else 384)

    async def test_a_reference_says_where_its_key_is(self, house, ref):
        assert (ref.store, ref.version, ref.purpose, ref.algorithm) == (house.store.name, 1, P, P256)
        assert KeyRef.from_json(ref.to_json()) == ref

    async def test_a_digest_of_another_kind_or_size_or_a_message_is_bad_input(self, house, ref):
        for bad in (Message(b"x"), Message(b"x" * 32), Digest.of(b"x", DigestAlgorithm.SHA384)):
            with pytest.raises(BadInput, match=r"key\.bad_input"):
                await house.store.sign(ref, bad, purpose=P, event_id="e")
        for size in (0, 31, 33, 48):
            with pytest.raises(ValueError, match="bytes"):
                Digest(DigestAlgorithm.SHA256, b"x" * size)

    async def test_ed25519_takes_the_message_and_no_digest(self, house):
        ref = await house.store.create(name_for(), P, wanted(house, SignatureAlgorithm.ED25519))
        with pytest.raises(BadInput, match=r"key\.bad_input"):
            await house.store.sign(ref, Digest.of(b"x"), purpose=P, event_id="e")
        for message in (b"", b"x", b"signed attributes" * 1_000):
            value = await house.store.sign(ref, Message(message), purpose=P, event_id="e")
            assert checked(ref, Message(message), value) and len(value) == 64

    async def test_a_key_serves_one_purpose(self, house, ref):
        with pytest.raises(Refused, match=r"key\.wrong_purpose"):
            await house.store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")

    async def test_rotation_between_creation_and_signature_changes_nothing(self, house, ref):
        if house.rotate is None:
            pytest.skip(f"{house.store.name} knows no versions")
        await house.rotate(ref)
        assert checked(ref, Digest.of(b"x"), await house.store.sign(ref, Digest.of(b"x"), purpose=P, event_id="e"))
        assert await house.store.public_key(ref) == ref.spki

    # references that were changed

    @pytest.mark.parametrize("purpose", [KeyPurpose.SEAL, KeyPurpose.CA])
    async def test_a_purpose_changed_in_the_table_is_refused(self, house, ref, purpose):
        error = await refused(
            house.store.sign(changed(ref, purpose=purpose.value), Digest.of(b"x"), purpose=purpose, event_id="e")
        )
        assert error.code in {"key.damaged", "key.wrong_purpose"}

    @pytest.mark.parametrize(
        ("made", "claimed"),
        [
            (SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PSS_SHA256),
            (P256, SignatureAlgorithm.ED25519),
            (P256, SignatureAlgorithm.RSA_PKCS1_SHA256),
        ],
    )
    async def test_an_algorithm_changed_in_the_table_is_refused(self, house, made, claimed):
        ref = await house.store.create(name_for(), P, wanted(house, made))
        with pytest.raises(Broken, match=r"key\.damaged"):
            await house.store.sign(changed(ref, algorithm=claimed.value), input_for(claimed), purpose=P, event_id="e")

    async def test_a_signature_of_another_key_is_never_released(self, house, ref):
        other = await house.store.create(name_for(), P, P256)
        mixed = changed(ref, spki=other.to_json()["spki"])
        error = await refused(house.store.sign(mixed, Digest.of(b"x"), purpose=P, event_id="e"))
        assert error.code in {"key.wrong_signature", "key.damaged"}
        (result,) = await house.store.sign_batch(mixed, [Digest.of(b"x")], purpose=P, event_id="e")
        assert isinstance(result, ServiceError) and result.code == error.code

    @pytest.mark.parametrize("version", [0, 2, 99])
    async def test_a_version_that_is_not_there_signs_nothing(self, house, ref, version):
        error = await refused(house.store.sign(changed(ref, version=version), Digest.of(b"x"), purpose=P, event_id="e"))
        assert error.code in {"key.missing", "key.damaged", "key.wrong_version"}

    async def test_an_unknown_key_is_missing(self, house, ref):
        ghost = changed(ref, name=ref.name.replace(ref.name[9:14], "ghost", 1))
        with pytest.raises(NotFound, match=r"key\.missing"):
            await house.store.sign(ghost, Digest.of(b"x"), purpose=P, event_id="e")
        with pytest.raises(NotFound, match=r"key\.missing"):
            await house.store.public_key(ghost)

    @pytest.mark.parametrize("name", ["../out", "document-../out", "document-a/b", "", "document-a\0", "document-a b"])
    async def test_a_name_never_leads_elsewhere(self, house, ref, name):
        if house.names_lead:
            assert (await refused(house.store.create(name, P, P256))).code == "key.bad_input"
        error = await refused(house.store.sign(changed(ref, name=name), Digest.of(b"x"), purpose=P, event_id="e"))
        assert error.code in {"key.missing", "key.damaged", "key.bad_input"}

    # names

    async def test_a_name_is_given_once(self, house):
        name = name_for()
        await house.store.create(name, P, P256)
        for store in filter(None, [house.store, house.again and house.again()]):
            with pytest.raises(Conflict, match=r"key\.exists"):
                await store.create(name, P, P256)

    async def test_of_several_who_ask_for_a_name_at_once_one_is_given_the_key(self, house):
        name = name_for()
        made = await asyncio.gather(*(house.store.create(name, P, P256) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, KeyRef) for one in made) == 1
        assert {one.code for one in made if isinstance(one, ServiceError)} == {"key.exists"}

    async def test_a_destroyed_key_signs_nothing_and_its_name_is_never_given_again(self, house):
        name = name_for()
        ref = await house.store.create(name, P, P256)
        await house.store.disable(ref)
        await house.store.destroy(ref)
        for store in filter(None, [house.store, house.again and house.again()]):
            error = await refused(store.sign(ref, Digest.of(b"x"), purpose=P, event_id="e"))
            assert error.code in {"key.disabled", "key.missing"}
            with pytest.raises(NotFound, match=r"key\.missing"):
                await store.public_key(ref)
            with pytest.raises(Conflict, match=r"key\.exists"):
                await store.create(name, P, P256)

    async def test_another_process_finds_the_key(self, house, ref):
        if house.again is None:
            pytest.skip("keys of one instance")
        assert await house.again().sign(ref, Digest.of(b"x"), purpose=P, event_id="e")

    # ending

    async def test_destroy_needs_disable_first_and_a_disabled_key_refuses(self, house, ref):
        store = house.store
        with pytest.raises(Refused, match=r"key\.not_disabled"):
            await store.destroy(ref)
        assert await store.sign(ref, Digest.of(b"x"), purpose=P, event_id="e")
        await store.disable(ref)
        await store.disable(ref)  # again changes nothing
        for user in filter(None, [store, house.again and house.again()]):
            with pytest.raises(Refused, match=r"key\.disabled"):
                await user.sign(ref, Digest.of(b"x"), purpose=P, event_id="e")
            results = await user.sign_batch(ref, [Digest.of(b"x")] * 2, purpose=P, event_id="e")
            assert [isinstance(one, Refused) and one.code for one in results] == ["key.disabled"] * 2
        assert await store.public_key(ref) == ref.spki  # what it signed can still be compared
        await store.destroy(ref)
        with contextlib.suppress(NotFound):  # a store that can see that it is gone says so
            await store.destroy(ref)

    async def test_an_unknown_key_is_neither_disabled_nor_destroyed(self, house, ref):
        ghost = changed(ref, name=ref.name.replace(ref.name[9:14], "ghost", 1))
        assert (await refused(house.store.disable(ghost))).code == "key.missing"
        assert (await refused(house.store.destroy(ghost))).code in {"key.missing", "key.not_disabled"}

    # many

    async def test_a_batch_gives_one_result_or_error_an_item_in_order(self, house, ref):
        items = [Digest.of(b"1"), Digest.of(b"2", DigestAlgorithm.SHA384), Digest.of(b"3")]
        one, two, three = await house.store.sign_batch(ref, items, purpose=P, event_id="e")
        assert isinstance(two, BadInput)
        assert checked(ref, items[0], one) and checked(ref, items[2], three)
        assert await house.store.sign_batch(ref, [], purpose=P, event_id="e") == []

    async def test_a_batch_for_another_purpose_is_refused_item_by_item(self, house, ref):
        results = await house.store.sign_batch(ref, [Digest.of(b"1")] * 2, purpose=KeyPurpose.SEAL, event_id="e")
        assert [isinstance(one, Refused) and one.code for one in results] == ["key.wrong_purpose"] * 2

    async def test_201_items_are_signed_in_order(self, house, ref):
        items = [Digest.of(b"%d" % n) for n in range(201)]
        results = await house.store.sign_batch(ref, items, purpose=P, event_id="e")
        assert len(results) == 201
        for item, value in zip(items, results, strict=True):
            assert checked(ref, item, value)

    async def test_fifty_who_sign_at_once_each_have_their_own(self, house, ref):
        other = await house.store.create(name_for(KeyPurpose.SEAL), KeyPurpose.SEAL, P256)

        async def one(number: int) -> bytes:
            key, digest = (ref, other)[number % 2], Digest.of(b"%d" % number)
            value = await house.store.sign(key, digest, purpose=key.purpose, event_id=f"e{number}")
            return checked(key, digest, value)

        assert len(set(await asyncio.gather(*(one(number) for number in range(50))))) == 50

    async def test_one_who_gives_up_and_one_who_errs_leave_the_others_alone(self, house, ref):
        digests = [Digest.of(b"%d" % n) for n in range(12)]
        digests[7] = Digest.of(b"7", DigestAlgorithm.SHA384)
        tasks = [asyncio.create_task(house.store.sign(ref, digest, purpose=P, event_id="e")) for digest in digests]
        await asyncio.sleep(0)
        for number in (0, 5):
            tasks[number].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, (digest, result) in enumerate(zip(digests, results, strict=True)):
            if number == 7:
                assert isinstance(result, BadInput)
            elif not isinstance(result, asyncio.CancelledError) or number not in {0, 5}:
                assert checked(ref, digest, result)
        assert await house.store.sign(ref, digests[0], purpose=P, event_id="e")

    # what shows

    async def test_no_secret_shows(self, house, ref, caplog):
        caplog.set_level("DEBUG")
        shown = [repr(house.store), str(vars(ref)) if hasattr(ref, "__dict__") else repr(ref)]
        for bad in (changed(ref, version=9), changed(ref, purpose="seal")):
            try:
                await house.store.sign(bad, Digest.of(b"x"), purpose=bad.purpose, event_id="e")
            except ServiceError as error:
                shown += [*traceback.format_exception(error), repr(error), str(error.evidence)]
        shown += [repr(await house.store.health()), caplog.text]
        for secret in house.secrets:
            assert secret not in "\n".join(shown)

    async def test_a_store_that_works_is_open(self, house):
        health = await house.store.health()
        assert health.state == "open" and health.detail
