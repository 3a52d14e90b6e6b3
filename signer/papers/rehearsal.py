"""A signature made for nobody, before anybody is asked: what would a checker say of the finished file? In the sandbox.

Everything but the value, its time-stamp and the validation data is fixed once a paper is prepared. A stand-in fills these
three, the whole file is judged, and the signature is forgotten. After the approval nothing of a stranger's is parsed any
more: the update that carries validation data is written on the *ground* that was read here.
"""

import datetime as dt
import io
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from core.formats.cms import CmsProfile
from core.values import SignatureAlgorithm
from signer.formats import dss, pades
from signer.formats.fields import Holes
from verification.worker import judge

__all__ = ["rehearse"]


@dataclass(frozen=True, slots=True)
class _StandIn:
    key: ec.EllipticCurvePrivateKey
    profile: CmsProfile


@cache
def _stand_in() -> _StandIn:
    """Lives in the memory of this sandbox only, and nobody trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rehearsal")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start + dt.timedelta(days=36_500)).sign(key, hashes.SHA256())
    )  # fmt: skip
    der = certificate.public_bytes(Encoding.DER)
    return _StandIn(key, CmsProfile(der, (), SignatureAlgorithm.ECDSA_P256_SHA256))


def rehearse(document: bytes, holes: Holes, *, field: str, at: dt.datetime) -> dict[str, Any]:
    """``document`` ends with the update that left ``holes``. Returns facts (``verification.worker``) and the ground.

    No anchor is given: whom to trust is not the sandbox's to say. Raises ``pades.unreadable``, ``pades.too_big``,
    ``pades.catalog_too_large``.
    """
    stand_in = _stand_in()
    stream = io.BytesIO(document)
    prepared = pades.finish_in(stream, holes, field=field, profile=stand_in.profile)
    value = stand_in.key.sign(prepared.signed_attributes, ec.ECDSA(hashes.SHA256()))
    pades.embed_in(stream, prepared, stand_in.profile.signed_data(prepared.signed_attributes, value))
    signed = stream.getvalue()
    ground = dss.ground_of(signed)
    # as many objects as there may ever be: a paper may refer to numbers that nobody has yet
    filler = [b"%d" % number for number in range(ground.room - 3)]
    finished = signed + dss.update(ground, certificates=[stand_in.profile.certificate], ocsps=[], crls=filler)
    facts, _ = judge(finished, {"at": at.isoformat(), "anchors": []})
    return {"facts": facts, "ground": ground.to_json()}
