"""Signing a 200 MB PDF in place on a copy, streamed, against ``sha256sum`` + ``cp``; peak memory of the signing process."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pikepdf

from bench.bench_sign import NOW, with_field
from bench.parts import Key, authority, wait
from core.formats.cms import signature_timestamp_attribute
from core.values import Digest
from signer.formats import pades

SIZE = 200 * 2**20


def draw(path: Path) -> None:
    """Forty pages of incompressible pictures and one empty field."""
    with pikepdf.new() as pdf:
        for _ in range(40):
            page = pdf.add_blank_page(page_size=(595, 842))
            image = pikepdf.Stream(pdf, os.urandom(SIZE // 40))
            image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
            image.Width, image.Height = 2048, SIZE // 40 // 2048
            image.ColorSpace, image.BitsPerComponent = pikepdf.Name.DeviceGray, 8
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=pdf.make_indirect(image)))
            page.Contents = pdf.make_stream(b"q 595 0 0 842 0 0 cm /I Do Q")
        pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    path.write_bytes(with_field(path.read_bytes()))


def peak_mib() -> int:
    """VmHWM of this process. (``ru_maxrss`` would carry over the parent's peak through the fork.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def sign(source: str, target: str) -> None:
    """The measured process: copy, append, hash, sign, stamp, fill, check."""
    key, tsa = Key("UBND xã Thử"), Key("TSA", usage="tsa")
    start = time.perf_counter()
    shutil.copyfile(source, target)
    with Path(target).open("r+b") as stream:
        prepared = pades.prepare_in(stream, field="A", profile=key.profile, signed_at=NOW, signer_name="A")
        value = key.value(prepared.to_sign)
        token = wait(authority(tsa).stamp(Digest.of(value)))
        cms = key.profile.signed_data(
            prepared.signed_attributes, value, unsigned_attributes=(signature_timestamp_attribute(token),)
        )
        pades.embed_in(stream, prepared, cms)
        pades.check_in(stream, prepared, key.der)
    print(time.perf_counter() - start, peak_mib())


def main() -> None:
    """Print the figures: medians of three, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "big.pdf", Path(folder) / "copy.pdf"
        draw(source)
        size = source.stat().st_size
        ours, base, peak = [], [], 0
        for _ in range(3):
            out = subprocess.run(
                [sys.executable, "-m", "bench.bench_large", str(source), str(target)],
                check=True, capture_output=True, text=True,
            ).stdout.split()  # fmt: skip
            ours.append(float(out[0]))
            peak = max(peak, int(out[1]))
            target.unlink()
            start = time.perf_counter()
            subprocess.run(["sha256sum", source], check=True, capture_output=True)
            subprocess.run(["cp", source, target], check=True)
            base.append(time.perf_counter() - start)
            target.unlink()
    a, b = sorted(ours)[1], sorted(base)[1]
    most = 1.3 * size / 2**20 + 150
    print(f"200 MB: ours {a:.2f} s, sha256sum + cp {b:.2f} s, ratio {a / b:.2f} (at most 3); "
          f"peak {peak} MiB (at most {most:.0f})")  # fmt: skip


if __name__ == "__main__":
    sign(*sys.argv[1:]) if len(sys.argv) > 1 else main()
