"""The document store."""

import pytest

from core.errors import Broken, NotFound
from core.objects import Documents


async def test_a_document_comes_back_by_its_digest_and_may_be_put_twice(tmp_path):
    documents = Documents.open("", tmp_path)
    name = await documents.put(b"one")
    assert await documents.put(b"one") == name
    assert await documents.get(name) == b"one"


async def test_a_missing_document_is_said_so(tmp_path):
    with pytest.raises(NotFound, match=r"store\.missing"):
        await Documents.open("memory:", tmp_path).get("00" * 32)


async def test_a_document_changed_on_disk_is_never_handed_out(tmp_path):
    documents = Documents.open("", tmp_path)
    name = await documents.put(b"one")
    (tmp_path / "objects" / name[:2] / name).write_bytes(b"two")
    with pytest.raises(Broken, match=r"store\.damaged"):
        await Documents.open("", tmp_path).get(name)


async def test_what_was_lately_put_is_kept_in_bounds(tmp_path):
    documents = Documents.open("", tmp_path)
    names = [await documents.put(bytes([n]) * 10) for n in range(40)]
    assert len(documents._recent) <= 16
    assert [await documents.get(name) for name in names] == [bytes([n]) * 10 for n in range(40)]
