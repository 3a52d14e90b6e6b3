"""Which product, and what it can."""

import base64

import pytest

from core.vault.capabilities import UNKNOWN, capabilities_of


@pytest.mark.parametrize(
    ("health", "product", "namespaces", "prehashed", "pagination"),
    [
        ({"version": "2.6.2"}, "openbao", True, False, True),
        ({"version": "2.2.0"}, "openbao", False, False, True),
        ({"version": "2.0.4", "performance_standby": False, "enterprise": False}, "vault", False, False, False),
        ({"version": "1.19.1+ent", "performance_standby": False}, "vault", True, True, False),
        ({"version": "1.18.0+ent", "performance_standby": False}, "vault", True, False, False),
        ({"version": "?"}, "openbao", False, False, True),
    ],
)
def test_products(health, product, namespaces, prehashed, pagination):
    found = capabilities_of(health)
    assert (found.product, found.namespaces, found.ed25519_prehashed, found.pagination) == (
        product, namespaces, prehashed, pagination,
    )  # fmt: skip


def test_nothing_is_promised_before_an_answer():
    assert capabilities_of({}) == UNKNOWN
    assert not (UNKNOWN.pagination or UNKNOWN.namespaces or UNKNOWN.soft_delete or UNKNOWN.ed25519_prehashed)


@pytest.mark.live
def test_the_record_says_what_the_server_does(openbao):
    record = capabilities_of(openbao.raw("GET", "sys/health").json())
    assert record.product == openbao.product
    openbao.enable("transit-record")
    for name in ("a", "b"):
        openbao.api("POST", f"transit-record/keys/{name}", {"type": "ed25519"})
    assert (len(openbao.api("LIST", "transit-record/keys?limit=1")["data"]["keys"]) == 1) is record.pagination
    assert (openbao.status("DELETE", "transit-record/keys/a/soft-delete") == 200) is record.soft_delete
    assert (openbao.status("POST", "sys/namespaces/record") == 200) is record.namespaces
    body = {"input": base64.b64encode(b"x" * 64).decode(), "key_version": "1"}
    plain = openbao.api("POST", "transit-record/sign/b", body)["data"]["signature"]
    hashed = openbao.raw("POST", "transit-record/sign/b", body | {"prehashed": True, "hash_algorithm": "sha2-512"})
    differs = hashed.status_code == 200 and hashed.json()["data"]["signature"] != plain
    assert differs is record.ed25519_prehashed
