"""Which product, and what it can."""

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
