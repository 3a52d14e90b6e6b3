"""What carries web's questions to the signer in a cluster: HAProxy with the chart's own configuration, at both ends.

The signer is found as in a cluster: by a DNS that knows whole names and no other.
"""

import http.server
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx2
import pytest
import trustme

from tests.conftest import live_or_skip
from tests.deploy.kit import rendered
from tests.openbao import free_port

pytestmark = pytest.mark.live
NAME = "town-dauso-signer"
WHOLE = f"{NAME}.default.svc.cluster.local"


@pytest.fixture(scope="module")
def relays():
    """(folder, port, names) with relays running, each over a socket, in front of a signer that answers ok.

    ``web``: as the chart has it; ``stranger``: with another certificate; ``short``: with a name that only a search list makes
    whole. ``names``: what the DNS was asked for.
    """
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        live_or_skip("haproxy")
    folder = Path(tempfile.mkdtemp(prefix="relay-"))
    port = free_port()
    config = next(each for each in rendered() if each["metadata"]["name"] == "town-dauso-relay")["data"]
    authority = trustme.CA()
    assert f"server signer {WHOLE}.:8443 " in config["web.cfg"]
    running = []
    dns = socketserver.ThreadingUDPServer(("127.0.0.1", 0), _Dns)
    dns.asked = set()
    for name, subject in (("signer", NAME), ("web", "dauso-web"), ("stranger", "somebody"), ("short", "dauso-web")):
        own = folder / name
        own.mkdir()
        pair = authority.issue_cert(subject, common_name=subject)
        pair.cert_chain_pems[0].write_to_path(own / "tls.pem")
        pair.private_key_pem.write_to_path(own / "tls.pem.key")
        authority.cert_pem.write_to_path(own / "ca.crt")
        text = config["signer.cfg" if name == "signer" else "web.cfg"]
        text = text.replace("/run/secrets/relay", str(own)).replace("/run/dauso/signer.sock", str(own / "s.sock"))
        text = text.replace(".:8443", f".:{port}").replace("bind :8443", f"bind 127.0.0.1:{port}")
        text = text.replace("parse-resolv-conf", f"nameserver here 127.0.0.1:{dns.server_address[1]}")
        if name == "stranger":  # that it is refused must not hang on the name
            text = text.replace(f"{WHOLE}.:{port} resolvers cluster init-addr none", f"127.0.0.1:{port}")
        if name == "short":
            text = text.replace(f"{WHOLE}.:", f"{NAME}:")
        (own / "relay.cfg").write_text(text)
        checked = subprocess.run([program, "-c", "-f", own / "relay.cfg"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    server = _Signer(str(folder / "signer" / "s.sock"), _Ok)
    for each in (server, dns):
        threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True).start()
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running += [
            subprocess.Popen([program, "-f", folder / n / "relay.cfg"], **quiet)
            for n in ("signer", "web", "stranger", "short")
        ]
        until = time.monotonic() + 20
        while (
            not all((folder / n / "s.sock").exists() for n in ("web", "stranger", "short"))
            or not _listens(port)
            or {NAME, WHOLE} - dns.asked
        ):
            assert time.monotonic() < until, dns.asked
            time.sleep(0.05)
        yield folder, port, dns.asked
    finally:
        for each in running:
            each.terminate()
            each.wait(20)
        for each in (server, dns):
            each.shutdown()
            each.server_close()
        shutil.rmtree(folder)


class _Ok(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        return


class _Dns(socketserver.BaseRequestHandler):
    """One question a packet (RFC 1035 §4.1): the signer's whole name has the address 127.0.0.1 and no AAAA; others are not there."""

    def handle(self):
        data, back = self.request
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        question, kind = data[12 : at + 5], int.from_bytes(data[at + 1 : at + 3])
        name = ".".join(labels).lower()
        self.server.asked.add(name)
        known, address = name == WHOLE, name == WHOLE and kind == 1
        flags = b"\x81\x80" if known else b"\x81\x83"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x7f\0\0\1" if address else b""
        back.sendto(
            data[:2] + flags + b"\0\1" + (b"\0\1" if address else b"\0\0") + b"\0" * 4 + question + answer,
            self.client_address,
        )


class _Signer(socketserver.ThreadingUnixStreamServer):
    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("signer", 0)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ask(path):
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://signer", timeout=5) as client:
        return client.post("/wake").text


def _try(path):
    try:
        return _ask(path)
    except httpx2.HTTPError:
        return ""


def test_web_is_answered(relays):
    folder, *_ = relays
    until = time.monotonic() + 10
    while not (
        said := _try(folder / "web" / "s.sock")
    ):  # HAProxy has asked for the name, and may not have read the answer
        assert time.monotonic() < until
        time.sleep(0.05)
    assert said == "ok"
    assert (folder / "web" / "s.sock").stat().st_mode & 0o077 == 0


def test_a_name_that_a_search_list_would_make_whole_leads_nowhere(relays):
    """HAProxy's own resolver knows none: such a name ends in "no server", whatever the libc finds at the start."""
    folder, _, asked = relays
    assert asked == {NAME, WHOLE}
    assert _try(folder / "short" / "s.sock") == ""


def test_another_certificate_of_the_same_authority_is_not(relays):
    folder, *_ = relays
    with pytest.raises(httpx2.HTTPError):
        _ask(folder / "stranger" / "s.sock")


def test_nor_is_anybody_without_one(relays):
    _, port, _ = relays
    with pytest.raises(httpx2.HTTPError):
        httpx2.post(f"https://127.0.0.1:{port}/wake", verify=False, timeout=5)
