"""The drawn code is read by another program."""

import io

import pytest
import segno
from PIL import Image

from core.errors import BadInput
from signer.copies import qr
from verification.engine import codes

URL = "https://xacthuc.tinh.gov.vn/v#" + "QRMF2" * 49


def test_a_seal_of_usual_size_is_version_ten():
    assert len(qr.matrix(URL)) == 57


def test_a_picture_by_another_encoder_is_found():
    out = io.BytesIO()
    segno.make(URL, error="m", micro=False).save(out, kind="png", scale=4, border=4)
    assert codes.in_picture(out.getvalue(), {})[0]["texts"] == [URL]


def test_the_vector_path_paints_what_the_matrix_says():
    rows = qr.matrix(URL)
    picture = Image.new("L", (65, 65), 255)
    for line in qr.vector_path(rows, 99.2).decode().splitlines()[1:-1]:
        x, y, width, _ = map(int, line.split()[:4])
        picture.paste(0, (x, 64 - y, x + width, 65 - y))
    big = picture.resize((260, 260), Image.Resampling.NEAREST)
    assert codes.in_pixels(big.tobytes(), 260, 260) == [URL]


def test_noise_and_oversize_are_refused():
    with pytest.raises(BadInput):
        codes.in_picture(b"not a picture", {})
    with pytest.raises(BadInput):
        qr.matrix("https://a.gov.vn/v#" + "A" * 2000)
