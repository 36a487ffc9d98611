"""What the linked maps send to a browser, and what they accept from one."""

import numpy as np
import pytest

from explorer import panels as panels_module
from explorer.panels import LinkedMaps

GRID = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
NAMES = ["TP53", "MDM2", "ATM", "CHEK2"]


@pytest.fixture
def maps() -> LinkedMaps:
    return LinkedMaps(NAMES, GRID, GRID[::-1], titles=("PCA", "autoencoder"))


@pytest.fixture
def many() -> LinkedMaps:
    points = np.random.default_rng(0).normal(size=(1000, 2))
    return LinkedMaps([f"G{i}" for i in range(1000)], points, points)


def steps(packed: bytes) -> list[list[int]]:
    return np.frombuffer(packed, "<u2").reshape(-1, 2).tolist()


def test_coordinates_keep_their_shape(maps):
    assert steps(maps.left) == [[0, 0], [32767, 0], [0, 65534], [32767, 65534]]


def test_coordinates_survive_quantisation():
    points = np.random.default_rng(1).normal(size=(500, 2)) * [3.0, 0.5] + 7
    maps = LinkedMaps([str(i) for i in range(500)], points, points)
    extent = np.ptp(points, axis=0).max()
    read = np.array(steps(maps.left)) / 65534 * extent + points.min(axis=0)
    np.testing.assert_allclose(read, points, atol=extent / 65534)


def test_missing_positions():
    points = [[0, 0], [np.nan, 1], [4, 4]]
    maps = LinkedMaps(["a", "b", "c"], points, np.full((3, 2), np.nan))
    assert steps(maps.left) == [[0, 0], [65535, 65535], [65534, 65534]]
    assert steps(maps.right) == [[65535, 65535]] * 3


def test_one_position_for_all_points():
    maps = LinkedMaps(["a", "b"], np.ones((2, 2)), np.ones((2, 2)))
    assert steps(maps.left) == [[0, 0], [0, 0]]


def test_no_points():
    maps = LinkedMaps([], np.empty((0, 2)), np.empty((0, 2)))
    maps.set_categories([], ["#000000"], [""])
    maps.select([])
    assert maps.selected.size == 0


def test_names_stay_one_a_line():
    maps = LinkedMaps(["a\nb", "c\u2028d", "\udcff", "é"], GRID, GRID)
    assert maps.names == "a b\nc d\n?\né"


@pytest.mark.parametrize(
    ("names", "left", "message"),
    [
        (NAMES, GRID[:3], r"expected left coordinates of shape \(4, 2\), got \(3, 2\): give one x"),
        (NAMES, GRID.T, r"expected left coordinates of shape \(4, 2\), got \(2, 4\)"),
        (NAMES, [[np.inf, 0], *GRID[1:]], "got infinity in row 0: use NaN"),
        (NAMES, [["x", "y"]] * 4, "expected left coordinates as numbers"),
        ([1, 2, 3, 4], GRID, r"expected names as text, got 1 at position 0: convert"),
        ("ABCD", GRID, "expected a sequence of names, got the single text 'ABCD'"),
    ],
)
def test_wrong_points(names, left, message):
    with pytest.raises(ValueError, match=message):
        LinkedMaps(names, left, GRID)


def test_wrong_height():
    with pytest.raises(ValueError, match="expected a height of 100 to 4000 CSS pixels, got 5"):
        LinkedMaps(NAMES, GRID, GRID, height=5)


def test_set_layout_changes_one_side(maps):
    before = maps.right
    maps.set_layout("left", GRID[:, ::-1])
    assert steps(maps.left) == [[0, 0], [0, 32767], [65534, 0], [65534, 32767]]
    assert maps.right == before
    with pytest.raises(ValueError, match="expected side 'left' or 'right', got 'middle'"):
        maps.set_layout("middle", GRID)
    with pytest.raises(ValueError, match=r"expected right coordinates of shape \(4, 2\), got \(2, 2\)"):
        maps.set_layout("right", GRID[:2])


def test_only_layouts_that_changed_are_packed_and_sent(monkeypatch):
    names, left, right = tuple(NAMES), GRID.copy(), GRID[::-1].copy()
    maps = LinkedMaps()
    maps.show(names, left, right)
    assert (maps.revision, maps.names) == (1, "\n".join(NAMES))
    # What changes is sent.
    sent = []
    maps.observe(lambda change: sent.append(change["name"]))
    packed = panels_module._packed_coordinates
    sides = []
    monkeypatch.setattr(
        panels_module, "_packed_coordinates", lambda *layout, what: sides.append(what) or packed(*layout, what=what)
    )
    # A click.
    maps.show(names, left, right)
    maps.set_categories([0, 1, 0, 0], ["#000000", "#ffffff"], ["", "x"])
    maps.set_marks(query=2)
    assert sides == []
    assert sorted(sent) == ["categories", "category_labels", "marks", "palettes"]
    sent.clear()
    # A switch of the representation on the right.
    maps.show(names, left, GRID)
    assert (sides, sent) == (["right"], ["right"])
    # Equal, but not the same: packed, and not sent.
    maps.show(list(names), left.copy(), GRID)
    assert (sides, sent) == (["right", "left"], ["right"])
    # Moved by hand in between.
    maps.set_layout("left", GRID[:, ::-1])
    maps.show(names, left, GRID)
    assert steps(maps.left) == [[0, 0], [32767, 0], [0, 65534], [32767, 65534]]
    # Other perturbations with the same layouts.
    maps.show(("a", "b", "c", "d"), left, GRID)
    assert maps.revision == 2
    assert steps(maps.right) == steps(maps.left)


def test_a_click_tells_the_name_as_it_was_given():
    told = []
    maps = LinkedMaps(["a\nb", "c"], GRID[:2], GRID[:2])
    maps.on_query(told.append)
    maps.set_state({"click": [0, 1, 0]})
    maps.show(("c", "d", "e"), GRID[:3], GRID[:3])
    maps.set_state({"click": [2, 1, 1]})
    assert told == ["a\nb", "e"]


def test_set_points_starts_afresh(maps):
    maps.select([1])
    maps.set_marks(query=3)
    maps.set_categories([0, 1, 0, 0], ["#000000", "#ffffff"], ["", "x"])
    maps.set_state({"click": [2, 1, 0]})
    maps.set_points(["a", "b"], GRID[:2], GRID[:2])
    assert maps.selected.size == 0
    assert maps.clicked is None
    assert maps.marks["query"] == -1
    assert maps.categories == b""
    assert maps.revision == 1
    with pytest.raises(ValueError, match="expected query positions from 0 to 1, got 2"):
        maps.set_marks(query=2)


def test_rejected_points_change_nothing(maps):
    with pytest.raises(ValueError, match="expected right coordinates"):
        maps.set_points(["a", "b"], GRID[:2], GRID)
    maps.select([3])
    assert maps.selected.tolist() == [3]
    assert maps.revision == 0


def test_categories_take_the_shortest_form(many):
    codes = np.zeros(1000, int)
    codes[[3, 999]] = [1, 2]
    many.set_categories(codes, ["#000000", "#111111", "#222222"], ["", "both", "left"])
    assert many.categories == b"\2\0\0\0" + np.array([3, 999], "<u4").tobytes() + np.array([1, 2], "<u2").tobytes()
    many.set_categories(np.arange(1000) % 3, ["#000000"] * 3, [""] * 3)
    assert many.categories == b"\0\0\0\0" + (np.arange(1000) % 3).astype("u1").tobytes()
    many.set_categories(np.arange(1000), ["#000000"] * 1000, [""] * 1000)
    assert many.categories == b"\1\0\0\0" + np.arange(1000).astype("<u2").tobytes()


def test_palettes(maps):
    maps.set_categories([0, 1, 1, 0], ["#000000", "#AAbbcc"], ["", "x"])
    assert maps.palettes == [["#000000", "#AAbbcc"]] * 2
    maps.set_categories([0, 1, 1, 0], (["#000000", "#111111"], ["#ffffff", "#eeeeee"]), ["", "x"])
    assert maps.palettes == [["#000000", "#111111"], ["#ffffff", "#eeeeee"]]


@pytest.mark.parametrize(
    ("codes", "palette", "labels", "message"),
    [
        (
            [0, 1],
            ["#000000", "#111111"],
            ["", "x"],
            r"expected 4 whole-number category codes, got shape \(2,\)",
        ),
        ([0.0, 1, 1, 0], ["#000000", "#111111"], ["", "x"], "of float64: give one code for each name"),
        ([0, 2, 1, 0], ["#000000", "#111111"], ["", "x"], "expected category codes from 0 to 1, got 0 to 2"),
        (
            [0, -1, 1, 0],
            ["#000000", "#111111"],
            ["", "x"],
            "expected category codes from 0 to 1, got -1 to 1",
        ),
        ([0, 1, 1, 0], ["#000000", "red"], ["", "x"], "expected colours like '#1f77b4', got 'red'"),
        ([0, 1, 1, 0], ["#000000", "#11111g"], ["", "x"], "got '#11111g'"),
        ([0, 1, 1, 0], (["#000000", "#111111"], ["#000000"]), ["", "x"], "equal length, got 2 and 1 colours"),
        ([0, 0, 0, 0], [], [], "expected 1 to 65536 colours, got 0"),
        ([0, 1, 1, 0], ["#000000", "#111111"], ["x"], "expected 2 labels, one for each colour, got 1"),
    ],
)
def test_wrong_categories(maps, codes, palette, labels, message):
    with pytest.raises(ValueError, match=message):
        maps.set_categories(codes, palette, labels)


def test_marks(maps):
    maps.set_marks(query=2, labels=np.array([3, 1, 3]), rings=[0], highlights=[1, 2])
    assert maps.marks == {"query": 2, "labels": [3, 1], "rings": [0], "highlights": [1, 2]}
    maps.set_marks(query=np.int64(1))
    assert maps.marks == {"query": 1, "labels": [], "rings": [], "highlights": []}


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"query": 4}, "expected query positions from 0 to 3, got 4: leave out"),
        ({"labels": [0, -1]}, "expected labels positions from 0 to 3, got -1"),
        ({"rings": [0.5]}, "expected rings as whole-number positions"),
        ({"highlights": [[0, 1]]}, r"expected highlights as whole-number positions, got shape \(1, 2\)"),
    ],
)
def test_wrong_marks(maps, marks, message):
    with pytest.raises(ValueError, match=message):
        maps.set_marks(**marks)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 500, 1000])
def test_selection_round_trip(many, size):
    chosen = np.sort(np.random.default_rng(size).choice(1000, size, replace=False))
    many.select(chosen[::-1])
    np.testing.assert_array_equal(many.selected, chosen)
    assert len(many.selection) <= 8 + 125


def test_select_rejects_unknown_positions(maps):
    with pytest.raises(ValueError, match="expected selection positions from 0 to 3, got 7"):
        maps.select([1, 7])


def listed(*indices: int, revision: int = 0) -> bytes:
    return b"\0\0\0\0" + revision.to_bytes(4, "little") + np.array(indices, "<u4").tobytes()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (listed(2, 0, 2), [0, 2]),
        (memoryview(listed(1)), [1]),
        (listed(1, 4, 2**32 - 1), [1]),
        (listed(1, revision=1), []),
        (listed(1, 2)[:-1], [1]),
        (b"\1\0\0\0\0\0\0\0\x06", [1, 2]),
        (b"\1\0\0\0\0\0\0\0\xff", [0, 1, 2, 3]),
        (b"\1\0\0\0\0\0\0\0\xff\xff\xff", [0, 1, 2, 3]),
        (b"\7\0\0\0\0\0\0\0\xff", []),
        (b"\1", []),
        (b"\1\0\0\0\0\0\0\0" + b"\xff" * 10_000, []),
        ("text", []),
        ([1, 2], []),
        (None, []),
    ],
)
def test_selection_from_a_client(maps, sent, expected):
    maps.set_state({"selection": sent})
    assert maps.selected.tolist() == expected
    assert maps.selected.dtype == np.intp


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([2, 1, 0], 2),
        ([0, 9, 0], 0),
        ([4, 1, 0], None),
        ([-1, 1, 0], None),
        ([2, 1, 1], None),
        ([2, 1], None),
        ([True, 1, 0], None),
        ([1.0, 1, 0], None),
        ([2**60, 1, 0], None),
        (["1", 1, 0], None),
        ({"0": 1}, None),
        (1, None),
        (None, None),
    ],
)
def test_click_from_a_client(maps, sent, expected):
    maps.set_state({"click": sent})
    assert maps.clicked == expected


def test_a_client_cannot_write_anything_else(maps):
    before = maps.get_state()
    maps.set_state(
        {
            "names": "<b>",
            "left": b"",
            "titles": ["<b>", "<i>"],
            "revision": 9,
            "height": 99999,
            "marks": {"query": "x"},
            "mark_labels": {"query": "<b>"},
            "palettes": [],
            "category_labels": ["<b>"],
            "_esm": "alert(1)",
            "unknown": 1,
        }
    )
    assert maps.get_state() == before


def test_clicking_twice_is_two_events(maps):
    events = []
    maps.observe(lambda change: events.append(change["new"]), names="click")
    maps.set_state({"click": [2, 1, 0]})
    maps.set_state({"click": [2, 2, 0]})
    assert events == [[2, 1, 0], [2, 2, 0]]
    assert maps.clicked == 2


def test_two_widgets_share_nothing(maps):
    other = LinkedMaps(NAMES, GRID, GRID)
    maps.select([1])
    maps.set_marks(query=1)
    maps.set_titles("a", "b")
    assert other.selected.size == 0
    assert other.marks["query"] == -1
    assert other.titles == ["left", "right"]
