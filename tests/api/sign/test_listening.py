"""The signing door holds both loopback addresses: nobody else can stand in front of it under the same name."""

import socket

import pytest

from api.serving import listen_here
from core.errors import Unavailable
from tests.flows.house import free_port


@pytest.fixture
def port():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    return free_port()


def test_the_door_takes_both_families_and_nobody_else_gets_either(port):
    made = listen_here(f"127.0.0.1:{port}")
    try:
        assert [each.getsockname()[0] for each in made] == ["127.0.0.1", "::1"]
        for address in (f"127.0.0.1:{port}", f"[::1]:{port}"):
            with pytest.raises(Unavailable) as refused:
                listen_here(address)
            assert refused.value.code == "web.bind"
    finally:
        for each in made:
            each.close()


def test_a_door_whose_other_half_is_taken_does_not_open(port):
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", port))
        other.listen()
        with pytest.raises(Unavailable):
            listen_here(f"127.0.0.1:{port}")


def test_an_address_that_is_no_loopback_is_taken_as_it_is(port):
    made = listen_here(f"0.0.0.0:{port}")
    assert len(made) == 1
    made[0].close()
