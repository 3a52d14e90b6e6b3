"""Protocols: what they say, and that nobody can take one for anything else."""

import datetime as dt
import stat
import subprocess

import pytest

from core.errors import Conflict, Refused, ServiceError, Unavailable
from core.values import Realm
from signer.keyceremony.paper import compose, keep
from signer.keyceremony.protocol import KINDS, RELEASE, Outcome, Protocol
from tests.conftest import BentClock

WHAT = ("Thay khóa", "Rotation of a key")


@pytest.fixture
def protocol():
    return Protocol(
        clock=BentClock(dt.datetime(2026, 11, 25, 7, 5, tzinfo=dt.UTC)), kind="rotate", store="transit",
        product="openbao 2.6.2", present=("Nguyễn Văn Mẫu", "Lê Thị Hữu"),
    )  # fmt: skip


def said(pdf, tmp_path):
    file = tmp_path / "paper.pdf"
    file.write_bytes(pdf)
    told = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    return " ".join(told.split())


def paper(protocol, tmp_path, realm=Realm.PRODUCTION, signed=True):
    pdf = compose(protocol, system="Hệ thống tỉnh Ví Dụ", host="vidu.gov.vn", realm=realm, signed=signed)
    return said(pdf, tmp_path)


def test_who_when_where_and_each_step_stand_on_it(protocol, tmp_path):
    with protocol.step(WHAT) as facts:
        facts.append((("SHA-256 của khóa công khai", "Digest of the public key"), "ab" * 32))
        protocol.clock.move(minutes=7)
    protocol.add(("Kiểm toán", "Audit"), Outcome.WARNING, code="keys.one_audit")
    words = paper(protocol, tmp_path)
    for each in (
        "BIÊN BẢN NGHI THỨC KHÓA", "Thay khóa", "Rotation of a key", "Nguyễn Văn Mẫu; Lê Thị Hữu", "transit · openbao 2.6.2",
        "25/11/2026 14:05 (giờ Việt Nam)", "25/11/2026 14:12 (giờ Việt Nam)", "ab" * 32, "Bước 1", "Bước 2",
        "Chỉ có một thiết bị ghi kiểm toán", "keys.one_audit", "hoàn thành / completed", "KHÔNG phải là bản sao chứng thực", protocol.id,
    ):  # fmt: skip
        assert each in words, each
    assert "CHƯA KÝ" not in words
    assert "TẬP HUẤN" not in words


def test_a_release_of_the_log_has_its_own_title_and_the_reason(protocol, tmp_path):
    protocol.kind, protocol.reason = RELEASE, "ổ đĩa hỏng"
    protocol.add(WHAT)
    words = paper(protocol, tmp_path)
    for each in (
        "BIÊN BẢN VỀ NHẬT KÝ CHỮ KÝ",
        "Release of the frozen log",
        "Lý do (tự khai)",
        "ổ đĩa hỏng",
        "Nguyễn Văn Mẫu; Lê Thị Hữu",
    ):
        assert each in words, each
    assert "NGHI THỨC KHÓA" not in words


def test_a_step_that_failed_is_written_down_with_what_it_had_found(protocol, tmp_path):
    with pytest.raises(Refused), protocol.step(WHAT) as facts:
        facts.append((("Khóa", "Key"), "seal-1"))
        raise Refused("keys.no_audit")
    assert not protocol.good
    words = paper(protocol, tmp_path)
    for each in ("KHÔNG HOÀN THÀNH / NOT COMPLETED", "KHÔNG THÀNH / FAILED", "keys.no_audit", "seal-1"):
        assert each in words, each


def test_a_fault_of_ours_is_no_step(protocol):
    with pytest.raises(ZeroDivisionError), protocol.step(WHAT):
        raise ZeroDivisionError
    assert protocol.steps == []


def test_unsigned_and_training_papers_say_so(protocol, tmp_path):
    assert "CHƯA KÝ" in paper(protocol, tmp_path, signed=False)
    assert "TẬP HUẤN – KHÔNG CÓ GIÁ TRỊ PHÁP LÝ" in paper(protocol, tmp_path, realm=Realm.TRAINING)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_name(protocol, tmp_path, kind):
    protocol.kind = kind
    words = paper(protocol, tmp_path)
    assert KINDS[kind][0] in words


def test_it_is_kept_for_its_owner_alone_and_never_over_another(tmp_path):
    path = tmp_path / "folder" / "paper.pdf"
    digest = keep(path, b"abc")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(Conflict):
        keep(path, b"other")
    assert path.read_bytes() == b"abc"
    with pytest.raises(Unavailable) as raised:
        keep(path / "below", b"x")
    assert isinstance(raised.value, ServiceError)
