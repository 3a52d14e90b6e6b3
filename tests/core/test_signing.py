"""What a key signs to prove that it is there is no document of anybody's."""

import hashlib

import pytest

from core.signing import BELONGS, POSSESSION, challenge, is_proof
from core.values import Digest, DigestAlgorithm


@pytest.mark.parametrize("kind", [BELONGS, POSSESSION])
@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
def test_a_challenge_is_a_proof_by_its_digest_or_as_it_is(kind, algorithm):
    said = challenge(kind)
    digest = Digest.keeping(said, algorithm)
    assert (digest.said, said != challenge(kind)) == (said, True)
    assert is_proof(digest.value, digest.said)
    assert is_proof(said, None)


@pytest.mark.parametrize(
    "said", [b"", b"x" * 48, BELONGS, BELONGS + bytes(31), BELONGS + bytes(33), b"x" + BELONGS + bytes(31), bytes(32)]
)
def test_anything_else_is_none(said):
    assert not is_proof(hashlib.sha256(said).digest(), said)
    assert not is_proof(said, None)


def test_another_digest_is_none():
    assert not is_proof(hashlib.sha256(b"a contract").digest(), challenge(BELONGS))
    assert not is_proof(hashlib.sha256(b"a contract").digest(), None)


def test_what_was_said_is_no_part_of_a_digest_and_not_shown():
    said = challenge(BELONGS)
    assert Digest.keeping(said, DigestAlgorithm.SHA256) == Digest.of(said)
    assert "belongs" not in repr(Digest.keeping(said, DigestAlgorithm.SHA256))
