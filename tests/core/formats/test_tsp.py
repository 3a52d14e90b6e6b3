"""RFC 3161 messages, read and written by openssl as well."""

import subprocess

import pytest

from core.formats import der, tsp
from core.values import Digest, DigestAlgorithm


@pytest.mark.parametrize("algorithm", [DigestAlgorithm.SHA256, DigestAlgorithm.SHA384])
def test_openssl_reads_our_request(tmp_path, algorithm):
    (tmp_path / "q").write_bytes(tsp.request(Digest.of(b"data", algorithm), 0xC0FFEE_C0FFEE))
    done = subprocess.run(
        ["openssl", "ts", "-query", "-in", "q", "-text"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"Hash Algorithm: {algorithm.value}" in done.stdout
    assert "Nonce: 0xC0FFEEC0FFEE" in done.stdout
    assert "Certificate required: yes" in done.stdout


def test_a_rejection_has_a_status_and_no_token():
    assert tsp.read_response(der.sequence(der.sequence(der.integer(2)))) == tsp.TspResponse(2, None)


TOKEN = der.sequence(der.null())


def test_a_grant_hands_out_the_token_as_it_stands():
    data = der.sequence(der.sequence(der.integer(0)), TOKEN)
    assert tsp.read_response(data) == tsp.TspResponse(0, TOKEN)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x30\x00", der.sequence(der.integer(0)), der.sequence(der.sequence(der.integer(0))),
     der.sequence(der.sequence(der.integer(2)), TOKEN), der.sequence(der.sequence(der.integer(0)), TOKEN, TOKEN),
     der.sequence(der.sequence(der.integer(0)), TOKEN) + b"\0", b"\x30\x80\x00\x00"],
)  # fmt: skip
def test_what_is_no_response_is_refused(data):
    with pytest.raises((ValueError, IndexError)):
        tsp.read_response(data)
