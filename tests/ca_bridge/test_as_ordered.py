"""Step 4 of the issuance ceremony: a certificate with another name or more power than ordered is never handed out."""

import pytest

from ca_bridge import issuance
from ca_bridge.authorities.embedded import Subject, build_certificate
from core.errors import Broken, Refused
from core.values import Realm, SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey


@pytest.mark.parametrize(
    "change", [{"profile": "issuing"}, {"subject": Subject(common_name="Người khác", organisation="X")}]
)
async def test_another_name_or_a_ca_in_place_of_an_official_is_refused(db, clock, monkeypatch, change):
    store = MemoryKeyStore()
    key = StoredKey(
        store, await store.create("k", KeyPurpose.CA, SignatureAlgorithm.ECDSA_P256_SHA256), KeyPurpose.CA, "e"
    )

    async def build(**order):
        return await build_certificate(**{**order, **change})

    monkeypatch.setattr(issuance, "build_certificate", build)
    with pytest.raises(Broken, match=r"ca\.not_as_ordered"):
        await issuance.issue(
            db, clock, subject=Subject(common_name="Lê Thị Hữu", organisation="X"), key=key, profile="official",
            realm=Realm.TRAINING, issuer=None, base_url="https://h",
        )  # fmt: skip


def test_a_key_that_cannot_be_read_is_a_weak_key():
    with pytest.raises(Refused, match=r"ca\.weak_key"):
        issuance._require_good_key(b"junk")
