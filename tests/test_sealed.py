"""The file of a sealed key: whole or refused, marked once."""

import base64
import json
import random
import zlib

import pytest
from frozen_toys import compare

from explorer.errors import InputError
from explorer.frozen import open_key
from explorer.sealed import MOST_BYTES, SealedKey, canonical, key_text, read_key, sha256_of, unsealed, write_opened_key

NOW = "2026-03-01T00:00:00Z"


def refused(content, message=r"."):
    with pytest.raises(InputError, match=message) as error:
        read_key(content, name="k.json")
    assert "\n" not in str(error.value)
    assert "k.json" in str(error.value)
    return str(error.value)


def attempt(content):
    """Read a key, or say why it can't be read."""
    try:
        return read_key(content, name="k.json"), ""
    except InputError as error:
        return None, str(error)


def test_a_key_comes_back(tmp_path):
    _, key = compare()
    path = tmp_path / "key.json"
    path.write_text(key_text(key))
    assert read_key(path) == key
    assert read_key(path.read_text().replace("\n", "\r\n").encode("utf-8-sig")) == key
    assert "simple" not in path.read_text()


def test_every_flipped_byte_is_found_or_harmless():
    _, key = compare()
    content = key_text(key).encode()
    draw = random.Random(0)
    n_found = 0
    for place in [*range(0, len(content), 3), *(draw.randrange(len(content)) for _ in range(300))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        found, said = attempt(bytes(flipped))
        assert "\n" not in said
        assert found in (None, key)  # a space may have become a line break
        n_found += found is None
    assert n_found > 400


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[]", b"[" * 100_000, b"row,first", b'{"format": 1}'])
def test_what_is_no_key(content):
    refused(content, "is no sealed key, or not a whole one")


def test_a_key_that_is_cut_short_or_too_large():
    _, key = compare()
    refused(key_text(key).encode()[:-20], "not a whole one")
    refused(bytes(MOST_BYTES + 1), "is larger than 16 MB")


def forged(key, **changes):
    """Write a key with its digest made again."""
    content = json.loads(key_text(key))
    content.pop("digest")
    content |= changes
    return json.dumps(content | {"digest": sha256_of(canonical(content))}).encode()


def test_an_opening_that_was_edited_is_found():
    frozen, key = compare()
    _, opened = open_key(frozen, key, results_digest="r", complete=True, date=NOW)
    content = json.loads(key_text(opened))
    refused(json.dumps(content | {"opened": None}).encode(), "was changed after it was written")
    refused(forged(key, opened={"date": NOW}), "was changed after it was written")
    refused(forged(key, opened={"date": NOW, "results": "r", "complete": "yes"}), "was changed after it was written")
    refused(forged(key, sha256="0" * 64), "was changed after it was written")
    refused(forged(key, payload=5), "was changed after it was written")


def test_a_payload_that_is_none():
    _, key = compare()
    bomb = zlib.compress(b"[" + b" " * (2 * MOST_BYTES) + b"]")
    for inside in (bomb, b"", zlib.compress(b"{}"), zlib.compress(b"[" * 100_000), zlib.compress(b'{"list": "x"}')):
        payload = base64.b64encode(inside).decode()
        refused(forged(key, payload=payload, sha256=sha256_of(payload)), "does not hold what a key holds")
    for text in ("%%%", "é", "A"):
        refused(forged(key, payload=text, sha256=sha256_of(text)), "does not hold what a key holds")
    strange = SealedKey("other rows", key.payload, key.sha256)
    with pytest.raises(InputError, match="does not hold what a key holds"):
        unsealed(strange)


def test_a_key_is_marked_in_its_file_once(tmp_path):
    (frozen, key), (_, other_key) = compare(), compare(n_each=7)
    path = tmp_path / "key.json"
    path.write_text(key_text(key))
    _, opened = open_key(frozen, key, results_digest="r", complete=True, date=NOW)
    write_opened_key(path, opened)
    write_opened_key(path, opened)
    assert read_key(path) == opened
    # From a copy that was never opened.
    _, again = open_key(frozen, key, results_digest="s", complete=True, date="2026-04-01")
    with pytest.raises(InputError, match=f"opened on {NOW} already, and the first opening counts"):
        write_opened_key(path, again)
    with pytest.raises(InputError, match=r"'key.json' holds another key"):
        write_opened_key(path, other_key)
    assert read_key(path) == opened
    with pytest.raises(InputError, match=r"no file 'none.json': expected the sealed key of a list"):
        read_key(tmp_path / "none.json")
