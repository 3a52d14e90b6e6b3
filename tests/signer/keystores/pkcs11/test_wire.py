"""Frames and errors between the service and its workers."""

import pytest

from core.errors import Broken, Conflict, ServiceError, Unavailable
from signer.keystores.pkcs11.wire import HEAD, MOST, error_of, frame, opened, told


def test_a_frame_comes_back():
    data = frame({"op": "sign", "n": [1, "x"]})
    assert HEAD.unpack(data[:4]) == (len(data) - 4,) and opened(data[4:]) == {"op": "sign", "n": [1, "x"]}


def test_a_frame_that_is_too_long_is_not_made():
    with pytest.raises(ValueError, match="frame"):
        frame({"x": "y" * MOST})


@pytest.mark.parametrize("bad", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_object_is_refused(bad):
    with pytest.raises(ValueError):
        opened(bad)


@pytest.mark.parametrize(
    "error", [Unavailable("key.denied", detail="pin"), Conflict("key.exists"), Broken("key.damaged", secret="not told")]
)
def test_an_error_keeps_its_class_its_code_and_its_detail_alone(error):
    back = error_of(told(error), "seal-1")
    assert (type(back), back.code) == (type(error), error.code)
    assert set(back.evidence) <= {"key", "detail"} and "not told" not in str(told(error))


@pytest.mark.parametrize(
    "bad",
    [
        None, [], ["Refused"], ["Unavailable", "key.denied"], ["Unavailable", "key.denied", 7], ["Exception", "key.denied", ""],
        ["__all__", "key.denied", ""], ["SystemExit", "key.denied", ""], ["Refused", "database.busy", ""], {"a": 1},
    ],
)  # fmt: skip
def test_an_error_of_another_shape_is_an_answer_that_was_not_understood(bad):
    back = error_of(bad)
    assert isinstance(back, ServiceError) and type(back) is Unavailable and back.code == "key.unavailable"
