"""Files of frozen lists: both forms hold the same, and every change is one sentence that says which."""

import csv
import io
import json
import random

import polars as pl
import pytest
from frozen_toys import ODD_NAMES, compare, discover, pairs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.frozen import list_digest
from explorer.frozen_files import csv_text, frozen_paths, parquet_bytes, read_frozen, sheet_csv, write_frozen
from explorer.sealed import MOST_BYTES, canonical, read_key, sha256_of
from explorer.store import write_new_atomically

NAMES = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('=+-@"\\,;\n\r\t\x00 ')), max_size=6)


def same(one, other):
    return one.digest == other.digest and one.header == other.header and one.rows.equals(other.rows)


def attempt(content):
    """Read a list, or say why it can't be read."""
    try:
        return read_frozen(content, name="list"), ""
    except InputError as error:
        return None, str(error)


def refused(content, message=r"."):
    content = content.encode() if isinstance(content, str) else content
    with pytest.raises(InputError, match=message) as error:
        read_frozen(content, name="list")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    return str(error.value)


@pytest.fixture(scope="module")
def frozen():
    return discover(10)


@pytest.fixture(scope="module")
def text(frozen):
    return csv_text(frozen)


@pytest.fixture(scope="module")
def lines(text):
    return text.splitlines()


def joined(lines):
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize("made", [discover(10), discover(3, rate=float("nan")), compare()[0]])
def test_both_forms_hold_the_same(made, tmp_path):
    for name, content in (("a.csv", csv_text(made).encode()), ("b.parquet", parquet_bytes(made))):
        path = tmp_path / name
        path.write_bytes(content)
        assert same(read_frozen(path), made)
        # What it holds decides, not what it is called.
        assert same(read_frozen(path.rename(tmp_path / "list")), made)


def test_parquet_is_readable_by_others(frozen):
    content = io.BytesIO(parquet_bytes(frozen))
    assert pl.read_parquet(content).equals(frozen.rows)
    assert json.loads(pl.read_parquet_metadata(content)["explorer.header"]) == frozen.header


def test_line_ends_and_marks_of_other_programs(text, frozen):
    assert same(read_frozen(text.replace("\n", "\r\n").encode("utf-8-sig")), frozen)
    assert same(read_frozen(text.rstrip("\n").encode() + b"\n\n\n"), frozen)
    # A spreadsheet writes truth values large.
    assert same(read_frozen(text.replace("true\n", "TRUE\n").encode()), frozen)


@settings(max_examples=60, deadline=None)
@given(st.sets(NAMES, min_size=2, max_size=7))
def test_any_names_come_back(names):
    made = discover(pairs=pairs_of(10, names))
    text = csv_text(made)
    assert len(text.splitlines()) == 4 + made.n_rows
    assert same(read_frozen(text.replace("\n", "\r\n").encode()), made)


@pytest.mark.parametrize("made", [discover(len(pairs_of(99))), compare()[0]])
def test_the_sheet_is_for_the_bench(made):
    text = sheet_csv(made)
    assert f"# explorer sheet of list {made.digest}" in text
    assert (f"# sealed key (SHA-256): {made.key_sha256}" in text) == (made.mode == "compare")
    table = list(csv.DictReader(line for line in io.StringIO(text, newline="") if not line.startswith("# ")))
    assert [row["row"] for row in table] == [str(number) for number in range(1, made.n_rows + 1)]
    assert set(table[0]) == {"row", "first", "second", "result"}
    assert {row["result"] for row in table} == {""}
    for row in table:
        assert not row["first"].lstrip().startswith(tuple("=+-@"))
        assert not row["second"].lstrip().startswith(tuple("=+-@"))
    filled = sheet_csv(made, ["hit", None] + ["failed"] * (made.n_rows - 2))
    assert [line.rpartition(",")[2] for line in filled.splitlines()[-made.n_rows :]][:3] == ["hit", "", "failed"]


# ---------------------------------------------------------------- writing


def test_files_are_written_once(tmp_path):
    made, key = compare()
    paths = write_frozen(tmp_path / "first.csv", made, key=key)
    assert [path.name for path in paths] == ["first.parquet", "first.csv", "first-sheet.csv", "first-key.json"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert same(read_frozen(paths[0]), made)
    assert same(read_frozen(paths[1]), made)
    assert read_key(paths[3]) == key
    before = {path: path.read_bytes() for path in paths}
    with pytest.raises(InputError, match=r"'first.parquet', .* exists already and a frozen list can't be changed"):
        write_frozen(tmp_path / "first", *compare(n_each=7)[:1], key=compare(n_each=7)[1])
    for path in paths[1:]:
        path.unlink()
        with pytest.raises(InputError, match="exists already"):
            write_frozen(tmp_path / "first.parquet", made, key=key)
    assert paths[0].read_bytes() == before[paths[0]]


def test_names_of_files(tmp_path):
    found = frozen_paths(tmp_path / "a.b.parquet", mode="discover")
    assert {form: path.name for form, path in found.items()} == {
        "parquet": "a.b.parquet",
        "csv": "a.b.csv",
        "sheet": "a.b-sheet.csv",
    }


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), FileExistsError(17, "File exists")])
def test_all_or_nothing(tmp_path, monkeypatch, fails_at, kind):
    written = []

    def fail_later(path, write):
        if len(written) == fails_at:
            raise kind
        write_new_atomically(path, write)
        written.append(path)

    monkeypatch.setattr("explorer.frozen_files.write_new_atomically", fail_later)
    made, key = compare()
    message = "was written by somebody else" if isinstance(kind, FileExistsError) else "No space left on device"
    with pytest.raises(InputError, match=message):
        write_frozen(tmp_path / "list", made, key=key)
    assert len(written) == fails_at
    assert list(tmp_path.iterdir()) == []


def test_keys_go_with_compare_lists(tmp_path, frozen):
    made, key = compare()
    for wrong in ((made, None), (frozen, key)):
        with pytest.raises(InputError, match="a compare list is written with its key"):
            write_frozen(tmp_path / "list", wrong[0], key=wrong[1])
    with pytest.raises(InputError, match="the key of another list"):
        write_frozen(tmp_path / "list", made, key=compare(n_each=7)[1])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write the list to 'list'"):
        write_frozen(tmp_path / "file" / "list", frozen)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------- changed


def test_a_changed_row(lines):
    assert lines[6].startswith("3,")
    assert ",0.2," in lines[6]
    changed = [*lines[:6], lines[6].replace(",0.2,", ",0.3,"), *lines[7:]]
    assert "row 3, " in refused(joined(changed), "was changed after freezing")
    named = [*lines[:6], "3,A,B," + lines[6].split(",", 4)[-1], *lines[7:]]
    refused(joined([*lines[:6], "3,AA,BB,0.2,2,\\=note,", *lines[7:]]), r"row 3, 'AA' \+ 'BB', is not of this list")
    refused(joined(named))
    refused(joined([*lines[:6], "rubbish", *lines[7:]]), "row 3 can't be read")


def test_rows_in_another_order(lines):
    swapped = [*lines[:5], lines[8], *lines[6:8], lines[5], *lines[9:]]
    refused(joined(swapped), "put into another order: row 5 stands where row 2 was")
    # Numbered anew, so that they seem to be in order.
    anew = [line.replace(line.split(",")[0], str(place), 1) for place, line in enumerate(swapped[4:], start=1)]
    refused(joined([*lines[:4], *anew]), "row 2 was row 5 when the list was frozen")


def test_rows_missing_and_rows_too_many(lines, text):
    refused(joined([*lines[:6], *lines[7:]]), "row 3 is missing of 10")
    refused(joined(lines[:11]), "rows 8, 9, 10 are missing of 10, so the file is cut short")
    refused(joined([*lines, lines[6]]), "row 3 stands there twice")
    refused(joined([*lines, "11,A,B,0.2,11,,"]), r"row 11, .* is not of this list")
    refused(joined(lines[:4]), "rows 1, 2, 3, 4, 5 … are missing of 10")
    for place in (len(text) - 3, len(text) - 40, len(text) // 2, 100, 30):
        refused(text[:place])


def test_rows_of_two_lists(lines):
    others = csv_text(discover(10, pairs=pairs_of(30)[20:])).splitlines()
    mixed = [*lines[:10], *others[10:12], *lines[12:]]
    assert "row 7, " in refused(
        joined(mixed), "is not of this list: it was changed after freezing, or comes from another"
    )
    refused(joined([*lines[:4], *others[4:]]), "row 1, .* is not of this list")


def test_a_changed_header_and_digest(lines, frozen):
    budget = lines[1].replace('"budget":10', '"budget":11')
    assert budget != lines[1]
    refused(joined([lines[0], budget, *lines[2:]]), "the header of 'list' was changed")
    refused(joined([lines[0], lines[1].replace(",", ", ", 1), *lines[2:]]), "the header of 'list' was changed")
    refused(joined([*lines[:2], "# digest: " + "0" * 64, *lines[3:]]), "the digest was changed after freezing")
    refused(joined([*lines[:3], lines[3].replace("known rate", "known ratio"), *lines[4:]]), "names of the columns")
    refused(joined([lines[0], lines[1], *lines[3:]]), "first lines of 'list' are not those of a frozen list")
    refused(joined(["# explorer shortlist 2", *lines[1:]]), "a list of format '2', and this version reads format 1")


def test_headers_that_a_stranger_made(lines, frozen):
    # Each has a digest that fits.
    for changes in (
        {"n_rows": 11}, {"n_rows": "10"}, {"mode": "both"}, {"mode": "compare"}, {"columns": []}, {"columns": 5},
        {"columns": [["row", "Int64"], ["first", "String"], ["second", "List"]]}, {"row_digests": None},
        {"row_digests": [1] * 10}, {"pair_digests": []}, {"format": 2}, {"pairs_sha256": 5}, {"date": None},
        {"key_sha256": 5, "mode": "compare"},
    ):  # fmt: skip
        header = {key: value for key, value in (frozen.header | changes).items() if key != "header_sha256"}
        header["header_sha256"] = sha256_of(canonical(header))
        refused(joined([lines[0], f"# {canonical(header)}", *lines[2:]]), "the header of 'list' was changed")
    refused(joined([lines[0], "# " + "[" * 100_000, *lines[2:]]), "the header of 'list' was changed")


def test_rows_that_freezing_would_not_have_written():
    # Digests that fit, of a list that names a pair twice.
    made = discover(4)
    rows = made.rows.with_columns(first=pl.lit("A"), second=pl.lit("B"))
    from explorer.frozen import header_digest, pair_digest
    from explorer.table_text import as_line

    header = dict(made.header) | {
        "row_digests": [sha256_of(as_line(row))[:12] for row in rows.rows()],
        "pair_digests": [pair_digest("A", "B")] * 4,
    }
    header["header_sha256"] = header_digest(header)
    forged = type(made)(header, rows, list_digest(header, rows))
    refused(csv_text(forged), "was not written by freezing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a frozen list"),
        (b"row,first,second\n1,A,B\n", "is not a frozen list"),
        (b"\xff\xfe\x00", "neither parquet nor text in UTF-8"),
        (b"PAR1", "can't read 'list'"),
        (b"PAR1" + bytes(100) + b"PAR1", "can't read 'list'"),
        (bytes(MOST_BYTES + 1), "larger than 16 MB"),
    ],
)
def test_what_is_no_list(content, message):
    refused(content, message)


def test_the_sheet_and_the_key_are_no_lists(tmp_path):
    made, key = compare()
    paths = write_frozen(tmp_path / "a", made, key=key)
    for path in paths[2:]:
        with pytest.raises(InputError, match="is not a frozen list"):
            read_frozen(path)
    with pytest.raises(InputError, match=r"no file 'b.csv': expected a frozen list"):
        read_frozen(tmp_path / "b.csv")


def test_every_flipped_byte_of_csv_is_found_or_harmless(text, frozen):
    content = text.encode()
    draw = random.Random(1)
    n_found, n_harmless = 0, 0
    for place in [*range(0, len(content), 2), *(draw.randrange(len(content)) for _ in range(500))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        found, said = attempt(bytes(flipped))
        assert "\n" not in said
        assert found is None or same(found, frozen)
        n_found += found is None
        n_harmless += found is not None
    assert n_found > 1_000
    assert n_harmless < 20


def rewritten(frozen, rows, **metadata):
    """Write parquet as somebody would who wants the list to say something else."""
    stream = io.BytesIO()
    told = {
        "explorer.shortlist": "1",
        "explorer.header": canonical(frozen.header),
        "explorer.digest": frozen.digest,
    } | metadata
    rows.write_parquet(stream, metadata=told)
    return stream.getvalue()


def test_changes_in_parquet(frozen):
    rows = frozen.rows
    assert same(read_frozen(rewritten(frozen, rows)), frozen)
    third = pl.when(pl.col("row") == 3)
    refused(
        rewritten(frozen, rows.with_columns(third.then(0.9).otherwise("known rate").alias("known rate"))), "row 3, "
    )
    refused(rewritten(frozen, rows[::-1]), "another order: row 10 stands where row 1 was")
    refused(rewritten(frozen, rows[:7]), "rows 8, 9, 10 are missing of 10")
    refused(rewritten(frozen, pl.concat([rows, rows[:1]])), "row 1 stands there twice")
    refused(rewritten(frozen, rows.drop("note")), "the columns of 'list' are not those that were frozen")
    refused(rewritten(frozen, rows.cast({"row": pl.Int32})), "the columns of 'list' are not those that were frozen")
    nan = third.then(float("nan")).otherwise("known rate").alias("known rate")
    refused(rewritten(frozen, rows.with_columns(nan)), "row 3, ")
    refused(rewritten(frozen, rows, **{"explorer.digest": "0"}), "the digest was changed")
    refused(rewritten(frozen, rows, **{"explorer.header": "{}"}), "the header of 'list' was changed")
    refused(rewritten(frozen, rows, **{"explorer.shortlist": "9"}), "a list of format '9'")
    stream = io.BytesIO()
    rows.write_parquet(stream)
    refused(stream.getvalue(), "is not a frozen list")


def flip_parquet(frozen, n_flips, seed):
    content = parquet_bytes(frozen)
    draw = random.Random(seed)
    n_found = 0
    for _ in range(n_flips):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        found, said = attempt(bytes(flipped))
        assert "\n" not in said
        assert found is None or same(found, frozen)
        n_found += found is None
    return n_found


def test_flipped_bytes_of_parquet_are_found_or_harmless(frozen):
    # Polars ends the process on some of them, which must not be ours.
    assert flip_parquet(frozen, 25, seed=0) > 5


@pytest.mark.slow
def test_many_flipped_bytes_of_parquet_are_found_or_harmless(frozen):
    assert flip_parquet(frozen, 200, seed=1) > 50


def test_odd_names_are_odd():
    # Lest the toys become tame.
    assert any(name.startswith("=") for name in ODD_NAMES)
    assert any("\n" in name for name in ODD_NAMES)
    assert any('"' in name for name in ODD_NAMES)
