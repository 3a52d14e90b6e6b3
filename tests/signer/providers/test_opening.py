"""From settings to a desk, and our own keys through it."""

from dataclasses import replace

import pytest

from core.certificates import Certificate
from core.errors import BadInput, ServiceError
from core.settings import Settings
from core.values import Message, Realm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.providers.model import transaction_id
from signer.providers.opening import open_providers, provider_anchors
from signer.providers.values import value_of
from tests.ca_bridge.makers import Ca
from tests.signer.providers.city import DIGEST, PASSWORD, USER, words


def opened(settings):
    more = dict.fromkeys(("db", "clock", "credentials", "directory", "open_key", "box", "outbound"))
    return open_providers(settings, realm=Realm.TRAINING, **more)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outbound_private": ""}, "provider.not_secure"),
        ({"provider_url": "http://example.org"}, "provider.not_secure"),
        ({"provider_url": "nowhere"}, "outbound.bad_url"),
        ({"provider_sp_id": ""}, "provider.no_secret"),
        ({"provider_sp_password": None}, "provider.no_secret"),
        ({"provider_anchors": None}, "provider.no_anchor"),
        ({"provider_name": "software"}, "provider.bad_name"),
        ({"provider_name": "sp:769"}, "provider.bad_name"),
        ({"provider_name": "x" * 33}, "provider.bad_name"),
    ],
)
async def test_settings_that_cannot_be_meant_are_refused(town, change, code):
    with pytest.raises(ServiceError) as refusal:
        opened(town.settings.model_copy(update=change))
    assert refusal.value.code == code


async def test_without_a_service_the_desk_knows_nobody(tmp_path):
    desk = opened(Settings(home=tmp_path))
    assert (desk.names, desk.keys(words), provider_anchors(Settings(home=tmp_path), Realm.TRAINING)) == (
        frozenset(),
        {},
        (),
    )


async def test_the_secrets_of_the_settings_are_not_shown(town):
    assert PASSWORD not in repr(town.settings) + repr(town.desk())


async def test_our_own_key_signs_at_once_through_the_same_desk(town):
    ca = await Ca(town.clock).start()
    issuer = await ca.make("official", ca.issuing)
    store: MemoryKeyStore = issuer.key.store
    async with town.db.write() as uow:
        credential = await town.credentials.add(
            uow, realm=ca.realm, purpose=KeyPurpose.DOCUMENT, owner=town.person_id, key=issuer.key.ref,
            certificate=issuer.certificate.der, chain=(ca.issuing.certificate.der, ca.root.certificate.der),
        )  # fmt: skip
    desk = replace(town.desk(), open_key=lambda c, order: StoredKey(store, c.key, KeyPurpose.DOCUMENT, order))
    value = await desk.sign(town.order(), credential, DIGEST, words)
    assert value_of(value, DIGEST, Certificate.parse(issuer.certificate.der), credential.key.algorithm) == value
    assert town.simulator.transactions == []


async def test_the_ceremonys_key_is_the_certificates_and_takes_digests_only(town):
    desk = town.desk()
    credential = await desk.introduce(town.person_id, "sp769", USER)
    assert await desk.introduce(town.person_id, "sp769", USER) == credential

    class Order:
        id = town.order()

    key = desk.keys(words)["sp769"](Order(), credential)
    assert key.spki == Certificate.parse(credential.certificate).spki
    assert key.algorithm is credential.key.algorithm
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await key.sign(Message(b"x"))


def test_a_transactions_name_follows_from_the_order_and_hides_it():
    one = transaction_id("sp769", "o1")
    assert one == transaction_id("sp769", "o1") and len(one) == 32
    assert len({one, transaction_id("sp769", "o2"), transaction_id("other", "o1")}) == 3
