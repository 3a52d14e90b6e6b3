"""One contract for all signers: our own keys and the service over HTTP."""

import asyncio
from dataclasses import dataclass

import pytest

from core.certificates import Certificate
from core.errors import NotFound, ServiceError
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.providers.model import Asked, OutcomeState, plain_serial, transaction_id
from signer.providers.own import OwnKey
from signer.providers.values import value_of
from tests.ca_bridge.makers import Ca
from tests.signer.providers.city import DIGEST, USER


@dataclass
class Side:
    """A provider, somebody it knows, and how that key signs."""

    provider: object
    user: str
    algorithm: SignatureAlgorithm

    async def asked(self, number=0, digest=DIGEST) -> Asked:
        (found,) = await self.provider.certificates(self.user)
        return Asked(
            transaction_id=transaction_id(self.provider.name, f"order{number}"), user=self.user, digest=digest,
            serial=plain_serial(Certificate.parse(found.certificate).serial), description="Đơn",
        )  # fmt: skip

    async def outcome(self, asked, taken):
        async with asyncio.timeout(10):
            while (found := await self.provider.outcome(asked, taken.tran_code)).state is OutcomeState.WAITING:
                await asyncio.sleep(0.02)
        return found


@pytest.fixture(params=["own", "sp769", "sp769 with codes"])
async def side(request, town):
    if request.param != "own":
        town.set("tran-code-as-id,pkcs7" if "codes" in request.param else "")
        return Side(town.desk().providers["sp769"], USER, SignatureAlgorithm.RSA_PKCS1_SHA256)
    algorithm = SignatureAlgorithm.ECDSA_P256_SHA256
    ca = await Ca(town.clock).start()
    issuer = await ca.make("official", ca.issuing)
    store: MemoryKeyStore = issuer.key.store
    async with town.db.write() as uow:
        credential = await town.credentials.add(
            uow, realm=ca.realm, purpose=KeyPurpose.DOCUMENT, owner=town.person_id, key=issuer.key.ref,
            certificate=issuer.certificate.der,
            chain=(ca.issuing.certificate.der, ca.root.certificate.der),
        )  # fmt: skip
    own = OwnKey(credential=credential, key=StoredKey(store, issuer.key.ref, KeyPurpose.DOCUMENT, "e"))
    return Side(own, town.person_id, algorithm)


async def test_the_certificate_it_tells_is_the_one_it_signs_with(side):
    asked = await side.asked()
    taken = await side.provider.submit(asked)
    found = await side.outcome(asked, taken)
    assert found.state is OutcomeState.SIGNED
    (told,) = await side.provider.certificates(side.user)
    assert value_of(found.value, DIGEST, Certificate.parse(told.certificate), side.algorithm)


async def test_looking_again_is_harmless(side):
    asked = await side.asked()
    taken = await side.provider.submit(asked)
    (told,) = await side.provider.certificates(side.user)
    for _ in range(3):
        found = await side.outcome(asked, taken)
        assert value_of(found.value, DIGEST, Certificate.parse(told.certificate), side.algorithm)


async def test_somebody_it_does_not_know_has_no_certificate(side):
    with pytest.raises(NotFound, match=r"provider\.no_certificate"):
        await side.provider.certificates("000000000009")


async def test_a_digest_that_the_key_does_not_sign_is_not_taken(side):
    asked = await side.asked(digest=Digest.of(b"x", DigestAlgorithm.SHA384))
    with pytest.raises(ServiceError) as refusal:
        await side.provider.submit(asked)
    assert refusal.value.code in {"provider.rejected", "key.bad_input"}


async def test_two_orders_are_two_transactions(side):
    one, two = await side.asked(1), await side.asked(2, Digest.of(b"another"))
    assert one.transaction_id != two.transaction_id
    taken = [await side.provider.submit(each) for each in (one, two)]
    (told,) = await side.provider.certificates(side.user)
    for asked, each in zip((one, two), taken, strict=True):
        found = await side.outcome(asked, each)
        assert value_of(found.value, asked.digest, Certificate.parse(told.certificate), side.algorithm)


def test_what_is_asked_does_not_show_the_person():
    asked = Asked(transaction_id="t", user=USER, serial="1", digest=DIGEST, description="")
    assert USER not in repr(asked)
