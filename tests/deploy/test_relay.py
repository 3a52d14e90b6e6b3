"""What carries web's questions to the signer in a cluster: HAProxy with the chart's own configuration, at both ends."""

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


@pytest.fixture(scope="module")
def relays():
    """(folder, port) with relays running: ``web`` and ``stranger`` each over a socket, in front of a signer that answers ok."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        live_or_skip("haproxy")
    folder = Path(tempfile.mkdtemp(prefix="relay-"))
    port = free_port()
    config = next(each for each in rendered() if each["metadata"]["name"] == "town-dauso-relay")["data"]
    authority = trustme.CA()
    running = []
    for name, subject in (("signer", "town-dauso-signer"), ("web", "dauso-web"), ("stranger", "somebody")):
        own = folder / name
        own.mkdir()
        pair = authority.issue_cert(subject, common_name=subject)
        pair.cert_chain_pems[0].write_to_path(own / "tls.pem")
        pair.private_key_pem.write_to_path(own / "tls.pem.key")
        authority.cert_pem.write_to_path(own / "ca.crt")
        text = config["signer.cfg" if name == "signer" else "web.cfg"]
        text = text.replace("/run/secrets/relay", str(own)).replace("/run/dauso/signer.sock", str(own / "s.sock"))
        text = text.replace("town-dauso-signer:8443", f"127.0.0.1:{port}").replace(
            "bind :8443", f"bind 127.0.0.1:{port}"
        )
        (own / "relay.cfg").write_text(text)
        checked = subprocess.run([program, "-c", "-f", own / "relay.cfg"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    server = _Signer(str(folder / "signer" / "s.sock"), _Ok)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running += [
            subprocess.Popen([program, "-f", folder / n / "relay.cfg"], **quiet) for n in ("signer", "web", "stranger")
        ]
        until = time.monotonic() + 20
        while not all((folder / n / "s.sock").exists() for n in ("web", "stranger")) or not _listens(port):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield folder, port
    finally:
        for each in running:
            each.terminate()
            each.wait(20)
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder)


class _Ok(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        return


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


def test_web_is_answered(relays):
    folder, _ = relays
    assert _ask(folder / "web" / "s.sock") == "ok"
    assert (folder / "web" / "s.sock").stat().st_mode & 0o077 == 0


def test_another_certificate_of_the_same_authority_is_not(relays):
    folder, _ = relays
    with pytest.raises(httpx2.HTTPError):
        _ask(folder / "stranger" / "s.sock")


def test_nor_is_anybody_without_one(relays):
    _, port = relays
    with pytest.raises(httpx2.HTTPError):
        httpx2.post(f"https://127.0.0.1:{port}/wake", verify=False, timeout=5)
