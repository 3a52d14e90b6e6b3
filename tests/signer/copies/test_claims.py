"""What a code may say of the original."""

import pytest

from signer.copies.claims import _number_for_code


@pytest.mark.parametrize("own", ["012345678901", "012 345 678 901", "012.345.678.901", "123456789"])
def test_a_persons_own_number_never_enters_the_code(own):
    assert _number_for_code(own) is None


@pytest.mark.parametrize(
    ("given", "said"), [("45/2001", "45/2001"), ("B1234567", "B1234567"), ("1234567890", "1234567890"), ("", None)]
)
def test_other_numbers_do(given, said):
    assert _number_for_code(given) == said
