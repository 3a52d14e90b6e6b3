"""Small real servers for tests: plain HTTP from a handler, and a time-stamping authority that is ``openssl ts``."""

import contextlib
import datetime as dt
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core.clock import SystemClock

CONF = """
[tsa]
default_tsa = here
[here]
dir = {dir}
serial = {dir}/serial
signer_cert = {dir}/tsa.pem
certs = {dir}/tsa.pem
signer_key = {dir}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@contextlib.contextmanager
def http(answer, heard=None):
    """``answer(method, body) → (status, headers, body)``; yields the port on 127.0.0.1.

    ``heard``: a list that gets each request's headers, before its answer is asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        def _do(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if heard is not None:
                heard.append({name.lower(): value for name, value in self.headers.items()})
            status, headers, out = answer(self.command, body)
            self.send_response(status)
            for name, value in {"content-length": str(len(out)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(out)

        do_GET = do_POST = _do  # noqa: N815  (the library's names)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)  # looks for its end that often
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class OpenSslTsa:
    """A root, a TSA certificate and ``openssl ts -reply``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        now = SystemClock().now()
        root_key = rsa.generate_private_key(65537, 2048)
        key = rsa.generate_private_key(65537, 2048)
        root_name, name = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("Gốc dấu thời gian", "TSA ngoài")
        )

        def start(subject, public):
            return (
                x509.CertificateBuilder().subject_name(subject).issuer_name(root_name).public_key(public)
                .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
                .not_valid_after(now + dt.timedelta(days=2))
            )  # fmt: skip

        usage = dict.fromkeys(
            ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
        )
        root = (
            start(root_name, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False, content_commitment=False, key_cert_sign=True, crl_sign=True, **usage
                ),
                critical=True,
            )
            .sign(root_key, hashes.SHA256())
        )
        leaf = (
            start(name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.anchor = folder / "root.pem"
        self.anchor.write_bytes(root.public_bytes(pem))
        self.root_der = root.public_bytes(serialization.Encoding.DER)
        (folder / "tsa.pem").write_bytes(leaf.public_bytes(pem))
        (folder / "tsa.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (folder / "serial").write_text("01")
        (folder / "tsa.cnf").write_text(CONF.format(dir=folder))
        self._lock = threading.Lock()

    def reply(self, query: bytes) -> bytes:
        with self._lock:
            (self.folder / "query").write_bytes(query)
            subprocess.run(
                ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply"],
                cwd=self.folder, check=True, capture_output=True,
            )  # fmt: skip
            return (self.folder / "reply").read_bytes()

    def answer(self, method, body):
        return 200, {"content-type": "application/timestamp-reply"}, self.reply(body)
