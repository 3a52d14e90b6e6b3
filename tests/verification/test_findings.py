"""One broken paper for each thing the check may find, and the verdict it means."""

import datetime as dt

import pytest
from pyhanko.sign import fields
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner

from core.values import Realm
from tests.verification import paper
from tests.verification.paper import DAY, NOW
from tests.verification.test_verify import check
from verification.policy import Policy, TrustAnchor
from verification.report import Verdict
from verification.verify import verify


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def in_signature_value(data: bytes) -> bytes:
    """A digit of the last signature's value, which closes the signed part of our CMS."""
    start = data.rindex(b"/Contents <") + 11
    end = data.index(b">", start)
    raw = bytes.fromhex(data[start:end].decode())
    from asn1crypto import cms

    value = cms.ContentInfo.load(raw)["content"]["signer_infos"][0]["signature"].contents
    at = start + 2 * (raw.index(value) + len(value) - 3)
    digit = data[at : at + 1]
    return data[:at] + (b"1" if digit == b"0" else b"0") + data[at + 1 :]


def sign_other(data, field, who, **meta):
    given = {"subfilter": fields.SigSeedSubFilter.PADES, "md_algorithm": "sha256", **meta}
    signing = PdfSigner(PdfSignatureMetadata(field_name=field, **given), who, timestamper=paper.stamper())
    return paper.run(signing, data)


def one(who="Ai do", **how):
    return paper.with_dss(paper.sign(paper.blank(), "Chu ky", paper.signer(who), **how), paper.crl())


BROKEN = {
    "verify.not_a_pdf": (lambda: b"junk", Verdict.UNKNOWN),
    "verify.no_signature": (paper.blank, Verdict.UNKNOWN),
    "verify.digest_differs": (lambda: flip(one(), 60), Verdict.ALTERED),
    "verify.signature_wrong": (lambda: in_signature_value(one()), Verdict.ALTERED),
    "verify.algorithm_refused": (
        lambda: sign_other(paper.blank(), "Chu ky", paper.signer("Ai do"), md_algorithm="sha1"), Verdict.INVALID,
    ),
    "verify.certificate_expired": (
        lambda: paper.with_dss(
            paper.sign(paper.blank(), "A", paper.signer("Cu", end=NOW - DAY, start=NOW - 9 * DAY)), paper.crl()
        ), Verdict.INVALID,
    ),
    "verify.certificate_not_yet_valid": (
        lambda: paper.with_dss(
            paper.sign(paper.blank(), "A", paper.signer("Moi", start=NOW + DAY, end=NOW + 9 * DAY)), paper.crl()
        ), Verdict.INVALID,
    ),
    "verify.certificate_revoked": (
        lambda: paper.with_dss(
            paper.sign(paper.blank(), "A", paper.signer("Huy")), paper.crl((paper.cert("Huy", "Root"), NOW - DAY))
        ), Verdict.INVALID,
    ),
    "verify.certificate_unfit": (
        lambda: paper.with_dss(paper.sign(paper.blank(), "A", paper.signer("CA con", ca=True)), paper.crl()),
        Verdict.INVALID,
    ),
    "verify.no_trusted_path": (
        lambda: paper.sign(paper.blank(), "A", paper.signer("La", "Other")), Verdict.UNKNOWN,
    ),
    "verify.wrong_order": (
        lambda: paper.sign(
            paper.sign(paper.blank(), "Seal", paper.signer("Con dau")), "Certifier", paper.signer("Chung thuc")
        ), Verdict.INVALID,
    ),
    "verify.extra_signature": (
        lambda: paper.sign(paper.copy(), "Third", paper.signer("Ke ba")), Verdict.ALTERED,
    ),
    "verify.time_in_future": (lambda: one(at=NOW + 9 * DAY), Verdict.INVALID),
    "verify.signature_constraint": (
        lambda: paper.sign(paper.blank(), "Seal", paper.signer("Con dau"), timestamp=False), Verdict.INVALID,
    ),
    "verify.revocation_not_checked": (
        lambda: paper.sign(paper.blank(), "A", paper.signer("Ai do")), Verdict.UNDETERMINED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", BROKEN)
async def test_each_fault_is_found_by_name_and_has_its_verdict(code):
    make, verdict = BROKEN[code]
    report = await check(make())
    found = {f.code for f in report.findings if f.severity == "error"}
    assert code in found, found
    assert report.verdict is verdict, found
    assert report.sentence("vi") != report.sentence("en")


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("verify.timestamp_untrusted", lambda: one(timestamp=paper.stamper(issuer="Other"))),
        ("verify.timestamp_revocation_not_checked", lambda: paper.sign(paper.blank(), "A", paper.signer("Ai do"))),
    ],
)  # fmt: skip
async def test_what_is_no_fault_is_still_said(code, make):
    report = await check(make())
    assert code in {f.code for f in report.findings if f.severity == "warning"}, report.findings


async def test_signatures_of_two_realms_are_never_mixed():
    data = paper.sign(paper.blank(), "Certifier", paper.signer("Chung thuc"), certify=True)
    data = paper.with_dss(
        paper.sign(data, "Seal", paper.signer("Con dau", "Other")), paper.crl(), paper.crl(issuer="Other")
    )
    anchors = (
        TrustAnchor(certificate=paper.der(paper.root("Root")), realm=Realm.PRODUCTION),
        TrustAnchor(certificate=paper.der(paper.root("Other")), realm=Realm.TRAINING),
    )
    at = NOW + DAY
    report = await verify(data, at=at, policy=Policy(anchors=anchors, at=at), register=None)
    assert report.verdict is Verdict.INVALID
    assert "verify.mixed_realm" in {f.code for f in report.findings}


async def test_a_good_foreign_file_is_genuine_and_has_all_that_the_circular_asks_for():
    report = await check(one())
    assert report.verdict is Verdict.GENUINE, report.findings
    (signature,) = report.signatures
    for member in ("signer", "issuing_ca", "managing_unit", "signing_time", "integrity", "valid_at_signing_time"):
        assert getattr(signature, member) not in {None, ""}, member
    assert dt.datetime.fromisoformat(signature.timestamp) == NOW
