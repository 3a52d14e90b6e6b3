"""The seal from claims to URL and back, with an independent COSE library as judge."""

import dataclasses
import datetime as dt

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cwt import COSE, COSEKey
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadInput, Refused
from core.formats import cbor, cose, key_list, qr_seal, status_list, typed_code
from core.values import Digest, SignatureAlgorithm

AT = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
KID = b"\x01\x02\x03\x04"
CLAIMS = qr_seal.SealClaims(AT, b"0123456789", b"h" * 32, 1523, 2026, 1, 7, 3, "NVA", 1522)
DAY = dt.timedelta(days=1)


class SoftKey:
    algorithm = SignatureAlgorithm.ECDSA_P256_SHA256

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.spki = self.key.public_key().public_bytes(serialization.Encoding.DER, form)

    async def sign(self, to_sign: Digest) -> bytes:
        return self.key.sign(to_sign.value, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def listed(*keys: SoftKey, **change: object) -> key_list.KeyList:
    entries = tuple(
        dataclasses.replace(key_list.KeyEntry(KID, k.spki, "xa-1", "UBND xã", AT - DAY, AT + DAY), **change)
        for k in keys
    )
    return key_list.KeyList(1, AT, AT + 7 * DAY, {"7": "Bằng tốt nghiệp"}, entries)


async def test_a_seal_is_small_valid_and_read_by_another_library():
    key = SoftKey()
    data = await qr_seal.seal(CLAIMS, key, KID)
    assert len(data) <= 170
    pem = key.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    payload = COSE.new().decode(b"\xd2" + data, COSEKey.from_pem(pem, kid=KID))
    assert cbor2.loads(payload if isinstance(payload, bytes) else cbor2.dumps(payload))[-2] == [1523, 2026, 1]
    link = qr_seal.url("xacthuc.tinh.gov.vn", data)
    assert qr_seal.parse_url(link.split("#")[0] + "#" + link.split("#")[1].lower(), "xacthuc.tinh.gov.vn") == data
    check = qr_seal.verify(data, listed(SoftKey(), key), AT)
    assert (check.state, check.claims) == ("valid", CLAIMS)


async def test_foreign_altered_dated_and_revoked_seals_are_not_valid():
    key = SoftKey()
    data = await qr_seal.seal(CLAIMS, key, KID)
    assert qr_seal.verify(data, listed(SoftKey()), AT).reason == "qr.bad_signature"
    assert qr_seal.verify(data, listed(key, kid=b"zzzz"), AT).reason == "qr.unknown_key"
    assert qr_seal.verify(data.replace(b"NVA", b"NVB"), listed(key), AT).reason == "qr.bad_signature"
    assert qr_seal.verify(data, listed(key, valid_to=AT - dt.timedelta(hours=1)), AT).reason == "qr.key_dates"
    assert qr_seal.verify(data, listed(key, status="revoked"), AT).reason == "qr.key_revoked"
    assert qr_seal.verify(data, listed(key), AT + 8 * DAY).state == "undetermined"
    assert qr_seal.verify(data + b"\0", listed(key), AT).state == "invalid"


@pytest.mark.parametrize(
    "raw", ["1801", "9f01ff", "a201010102", "0101", "c101", "fb3ff0000000000000", "a202010101", "61ff"]
)
def test_lenient_cbor_is_refused(raw):
    with pytest.raises(BadInput):
        cbor.decode(bytes.fromhex(raw))


_LEAF = st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20)


@given(st.lists(_LEAF, max_size=4) | st.dictionaries(_LEAF, _LEAF, max_size=4))
def test_cbor_agrees_with_an_oracle(value):
    assert cbor2.loads(cbor.encode(value)) == value
    assert cbor.decode(cbor.encode(value)) == value


@pytest.mark.parametrize("initials", ["N\u202eA", "N\nA", "e\u0301", "", "N" * 17])
def test_unsafe_text_is_refused(initials):
    with pytest.raises(BadInput):
        qr_seal.encode(dataclasses.replace(CLAIMS, initials=initials))


@pytest.mark.parametrize("tail", ["", "AA======", "A", "AB", "A-"])
def test_bad_fragments_are_refused(tail):
    with pytest.raises(BadInput):
        qr_seal.parse_url("https://a.gov.vn/v#" + tail, "a.gov.vn")


def test_another_algorithm_is_refused():
    header = cbor.encode({1: -8, 4: KID})
    with pytest.raises(BadInput):
        cose.parse(cose.assemble(header, b"", b"s" * 64))


@given(st.binary(min_size=10, max_size=10))
def test_typed_codes_come_back(code):
    text = typed_code.write(code)
    assert typed_code.read(text.lower().replace("-", "").replace("0", "o").replace("1", "l")) == code


def test_the_key_list_comes_back_and_refuses_unknown_names():
    keys = listed(SoftKey())
    assert key_list.read(key_list.write(keys)) == keys
    with pytest.raises(BadInput):
        key_list.read(key_list.write(keys).replace(b'"status"', b'"state"'))


async def test_a_status_list_refuses_rollback_and_wrong_key():
    key = SoftKey()
    status = status_list.StatusList("xa-1", 2026, 5, AT, AT + DAY, bytes([0b11100100]))
    data = await status_list.write(status, key, KID)
    back = status_list.read(data, key.spki, "xa-1", 2026, 5)
    assert [int(back.get(i)) for i in (0, 1, 2, 3, 4, -1)] == [0, 1, 2, 3, 0, 0]
    assert back.stale(AT + 2 * DAY) and not back.stale(AT)
    with pytest.raises(Refused, match="rollback"):
        status_list.read(data, key.spki, "xa-1", 2026, 6)
    with pytest.raises(Refused, match="bad_signature"):
        status_list.read(data, SoftKey().spki, "xa-1", 2026)
