"""An archive of several files."""

import io
import time
import zipfile

from explorer.archive import packed


def test_every_file_is_there_as_it_was():
    with zipfile.ZipFile(io.BytesIO(packed({"a.csv": b"1,2\n", "b.bin": bytes(range(256)) * 50}))) as archive:
        assert archive.namelist() == ["a.csv", "b.bin"]
        assert archive.read("a.csv") == b"1,2\n"
        assert archive.read("b.bin") == bytes(range(256)) * 50


def test_equal_files_are_equal_bytes_at_any_time(monkeypatch):
    first = packed({"a": b"x"})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    assert packed({"a": b"x"}) == first
