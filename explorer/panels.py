"""Two linked scatter maps of the same perturbations, drawn in the browser on canvas.

Arrays and names go in; the user's selection and clicks come back. Brushing, hovering and zooming never
leave the browser. What comes back is sent by a client and is therefore checked before it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

__all__ = ["LinkedMaps", "maps_script", "still_maps"]

Indices = npt.NDArray[np.intp]
Palette = Sequence[str]

# Coordinates travel as 16-bit steps of the longer side: half a pixel at the deepest zoom, half the bytes of
# float32. The last value is kept for "has no position".
COORDINATE_STEPS = 65534
NO_POSITION = 65535

# The first byte of a message says how the rest is packed. panels.js holds the same numbers.
DENSE_8, DENSE_16, SPARSE = 0, 1, 2
INDEX_LIST, BITMASK = 0, 1

MAX_CATEGORIES = 65536
SELECTION_HEADER = 8
SCRIPTS = ("search.js", "panels.js")
MARK_LABELS = {"query": "query", "ring": "known relationship", "highlight": "your list"}
LINE_BREAKS = {ord(character): " " for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


def maps_script() -> str:
    """Give the JavaScript of the maps: the text of an ES module that defines and exports ``render``."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in SCRIPTS)


class LinkedMaps(anywidget.AnyWidget):
    """Two scatter maps of the same perturbations, side by side and linked.

    Build it once, then change it through its methods: the camera and the selection of the user survive every
    change except `set_points`. In marimo, wrap it once with ``mo.ui.anywidget`` and let the cells that react
    to the user read ``wrapped.value``.

    Parameters
    ----------
    names
        Name of each perturbation, shape (n_perturbations,); without any, the maps wait for `show`.
    left, right
        Two-dimensional layouts in the order of `names`, shape (n_perturbations, 2). A row with NaN is not
        drawn in that map and cannot be selected there.
    titles
        What the left and the right map show.
    height
        Height of each map, in CSS pixels.

    Raises
    ------
    ValueError
        When names and layouts do not describe the same perturbations.

    Examples
    --------
    >>> import numpy as np
    >>> maps = LinkedMaps(["A", "B"], np.eye(2), np.eye(2), titles=("PCA", "autoencoder"))
    >>> maps.select([1])
    >>> maps.selected
    array([1])
    """

    _esm = maps_script()

    # Written by Python only; `set_state` drops what a client sends for them.
    revision = traitlets.Int(0).tag(sync=True)
    names = traitlets.Unicode("").tag(sync=True)
    left = traitlets.Bytes(b"").tag(sync=True)
    right = traitlets.Bytes(b"").tag(sync=True)
    titles = traitlets.List(traitlets.Unicode()).tag(sync=True)
    height = traitlets.Int(430).tag(sync=True)
    categories = traitlets.Bytes(b"").tag(sync=True)
    palettes = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    category_labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    mark_labels = traitlets.Dict(MARK_LABELS).tag(sync=True)

    # Written by the browser as well: see `selected` and `clicked` for the checked values.
    selection = traitlets.Bytes(b"").tag(sync=True)
    click: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def __init__(
        self,
        names: Sequence[str] = (),
        left: npt.ArrayLike | None = None,
        right: npt.ArrayLike | None = None,
        *,
        titles: tuple[str, str] = ("left", "right"),
        height: int = 430,
    ) -> None:
        if not 100 <= height <= 4000:
            message = f"expected a height of 100 to 4000 CSS pixels, got {height}: the default is 430"
            raise ValueError(message)
        self._n_points = len(names)
        self._names: Sequence[str] = names
        # What was shown last, by side: the same arrays again are not even packed.
        self._drawn: dict[str, npt.ArrayLike] = {}
        nowhere = np.empty((0, 2))
        super().__init__(
            **_packed_points(names, nowhere if left is None else left, nowhere if right is None else right),
            **_no_categories(),
            marks=_no_marks(),
            titles=[str(title) for title in titles],
            height=int(height),
        )

    def set_points(self, names: Sequence[str], left: npt.ArrayLike, right: npt.ArrayLike) -> None:
        """Show another set of perturbations; selection, camera, categories and marks start afresh.

        Parameters
        ----------
        names, left, right
            As for the constructor.
        """
        points = _packed_points(names, left, right)
        self._n_points, self._names, self._drawn = len(names), names, {}
        self._update(
            **points,
            **_no_categories(),
            marks=_no_marks(),
            selection=b"",
            click=[],
            revision=self.revision + 1,
        )

    def show(self, names: Sequence[str], left: npt.ArrayLike, right: npt.ArrayLike) -> None:
        """Show these perturbations; where they are those shown already, only layouts that changed are sent.

        Parameters
        ----------
        names, left, right
            As for the constructor.
        """
        layouts = {"left": left, "right": right}
        # The same tuple again, as a switch gives it, needs no comparison of a hundred thousand names.
        if names is not self._names and _packed_names(names) != self.names:
            self.set_points(names, left, right)
        else:
            # A click shows the same arrays again.
            moved = {side: layout for side, layout in layouts.items() if self._drawn.get(side) is not layout}
            n_points = self._n_points
            self._update(**{side: _packed_coordinates(moved[side], n_points, what=side) for side in moved})
            self._names = names
        self._drawn = layouts

    def on_query(self, tell: Callable[[str], None]) -> None:
        """Call a function with the name of each perturbation that the user clicks or searches for."""

        def follow(_: object) -> None:
            index = self.clicked
            if index is not None:
                tell(self._names[index])

        self.unobserve_all("click")
        self.observe(follow, names="click")

    def set_layout(self, side: Literal["left", "right"], coordinates: npt.ArrayLike) -> None:
        """Move the perturbations of one map; names, colours, camera and selection stay.

        Parameters
        ----------
        side
            Which map.
        coordinates
            The new layout, shape (n_perturbations, 2).
        """
        if side not in ("left", "right"):
            message = f"expected side 'left' or 'right', got {side!r}: name the map to change"
            raise ValueError(message)
        self._update(**{side: _packed_coordinates(coordinates, self._n_points, what=side)})
        self._drawn.pop(side, None)

    def set_titles(self, left: str, right: str) -> None:
        """Rename the two maps."""
        self._update(titles=[str(left), str(right)])

    def set_categories(
        self,
        codes: npt.ArrayLike,
        palette: Palette | tuple[Palette, Palette],
        labels: Sequence[str],
    ) -> None:
        """Colour the perturbations, in both maps at once.

        Parameters
        ----------
        codes
            Category of each perturbation, shape (n_perturbations,); 0 is the background, the others are
            drawn larger and above it.
        palette
            A colour ``"#rrggbb"`` for each category, or a pair of such palettes for light and dark themes.
        labels
            Legend text of each category; an empty label keeps a category out of the legend.
        """
        self._update(**_packed_categories(codes, palette, labels, n_points=self._n_points))

    def set_marks(
        self,
        *,
        query: int | None = None,
        labels: Sequence[int] | Indices = (),
        rings: Sequence[int] | Indices = (),
        highlights: Sequence[int] | Indices = (),
    ) -> None:
        """Mark perturbations by position in `names`; every call replaces all marks.

        Parameters
        ----------
        query
            The perturbation being asked about: a cross-hair, and its name.
        labels
            Perturbations to name on the maps, most important first; names that find no room are left out.
        rings
            Known relationships of the query: a ring.
        highlights
            The user's own list: a diamond.
        """
        lists = {"labels": labels, "rings": rings, "highlights": highlights}
        self._update(marks=_packed_marks(lists, query, n_points=self._n_points))

    def clear(self) -> None:
        """Take all colours and marks off the maps; points, camera and selection stay."""
        self._update(**_no_categories(), marks=_no_marks())

    def select(self, indices: Sequence[int] | Indices) -> None:
        """Select perturbations by position in `names`, in place of what the user had selected."""
        chosen = np.unique(np.asarray(_checked_indices(indices, self._n_points, what="selection"), np.intp))
        self._update(selection=_packed_selection(chosen, self._n_points, revision=self.revision))

    @property
    def selected(self) -> Indices:
        """Selected perturbations: positions in `names`, sorted, each once, always valid."""
        return _unpacked_selection(self.selection, self._n_points, revision=self.revision)

    @property
    def clicked(self) -> int | None:
        """The perturbation clicked last, as its position in `names`; None before any click."""
        if not _is_click(self.click):
            return None
        index, _, revision = cast("list[int]", self.click)
        return index if revision == self.revision and index < self._n_points else None

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser sent: only a selection and a click, each of the right form.

        A client may send any value for any trait, so everything else is dropped here.
        """
        super().set_state(_client_values(sync_data, self._n_points))

    def _update(self, **values: object) -> None:
        """Send several traits in one message, so that the browser never draws a mixture."""
        with self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)


def still_maps(
    names: Sequence[str],
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    titles: tuple[str, str],
    height: int = 430,
    categories: tuple[npt.ArrayLike, Palette, Sequence[str]],
    marks: Mapping[str, Any],
) -> dict[str, Any]:
    """Pack what a `LinkedMaps` would send, for a page that has no Python behind it.

    Parameters
    ----------
    names, left, right, titles, height
        As for `LinkedMaps`.
    categories
        Arguments of `LinkedMaps.set_categories`: codes, a palette, labels.
    marks
        Arguments of `LinkedMaps.set_marks`.

    Returns
    -------
    dict
        A value for each name that the JavaScript reads; texts, numbers, lists and bytes.
    """
    codes, palette, labels = categories
    lists = {name: indices for name, indices in marks.items() if name != "query"}
    return {
        **_packed_points(names, left, right),
        **_packed_categories(codes, palette, labels, n_points=len(names)),
        "marks": _no_marks() | _packed_marks(lists, marks.get("query"), n_points=len(names)),
        "mark_labels": MARK_LABELS,
        "titles": [str(title) for title in titles],
        "height": int(height),
        "revision": 0,
        "selection": b"",
        "click": [],
    }


def _packed_points(names: Sequence[str], left: npt.ArrayLike, right: npt.ArrayLike) -> dict[str, Any]:
    text = _packed_names(names)
    return {
        "names": text,
        "left": _packed_coordinates(left, len(names), what="left"),
        "right": _packed_coordinates(right, len(names), what="right"),
    }


def _packed_names(names: Sequence[str]) -> str:
    """Join names by line breaks; breaks inside a name become spaces."""
    if isinstance(names, str):
        message = f"expected a sequence of names, got the single text {names[:40]!r}: wrap it in a list"
        raise ValueError(message)
    # Lists from files may hold anything, whatever their type says.
    for position, name in enumerate(cast("Sequence[object]", names)):
        if not isinstance(name, str):
            message = f"expected names as text, got {name!r} at position {position}: convert them with str()"
            raise ValueError(message)
    joined = "\n".join(name.translate(LINE_BREAKS) for name in names)
    # A lone surrogate (from a file read with surrogateescape) cannot be sent as JSON.
    return joined.encode("utf-8", "replace").decode("utf-8")


def _packed_coordinates(coordinates: npt.ArrayLike, n_points: int, *, what: str) -> bytes:
    """Scale a layout into a square, keeping its shape, as x0 y0 x1 y1 … in little-endian uint16."""
    try:
        values = np.asarray(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = f"expected {what} coordinates as numbers, got {error}: give x and y as floats"
        raise ValueError(message) from error
    if values.shape != (n_points, 2):
        message = (
            f"expected {what} coordinates of shape ({n_points}, 2), got {values.shape}: "
            "give one x and one y for each name, in the order of the names"
        )
        raise ValueError(message)
    infinite = np.flatnonzero(np.isinf(values).any(axis=1))
    if infinite.size:
        message = (
            f"expected finite {what} coordinates or NaN, got infinity in row {infinite[0]}: "
            "use NaN for a perturbation without a position"
        )
        raise ValueError(message)
    packed = np.full((n_points, 2), NO_POSITION, dtype="<u2")
    drawn = ~np.isnan(values).any(axis=1)
    if drawn.any():
        present = values[drawn]
        low = present.min(axis=0)
        extent = float((present.max(axis=0) - low).max())
        packed[drawn] = np.rint((present - low) * (COORDINATE_STEPS / extent) if extent > 0 else present * 0)
    return packed.tobytes()


def _no_categories() -> dict[str, Any]:
    return {"categories": b"", "palettes": [[], []], "category_labels": []}


def _no_marks() -> dict[str, Any]:
    return {"query": -1, "labels": [], "rings": [], "highlights": []}


def _packed_categories(
    codes: npt.ArrayLike, palette: Palette | tuple[Palette, Palette], labels: Sequence[str], *, n_points: int
) -> dict[str, Any]:
    light, dark = _both_palettes(palette)
    if len(labels) != len(light):
        message = (
            f"expected {len(light)} labels, one for each colour, got {len(labels)}: "
            "use '' for a category without a legend entry"
        )
        raise ValueError(message)
    packed = _packed_codes(codes, n_points, n_categories=len(light))
    return {"categories": packed, "palettes": [light, dark], "category_labels": [str(label) for label in labels]}


def _packed_marks(lists: Mapping[str, Sequence[int] | Indices], query: int | None, *, n_points: int) -> dict[str, Any]:
    one = [] if query is None else _checked_indices([query], n_points, what="query")
    packed = {name: _checked_indices(indices, n_points, what=name) for name, indices in lists.items()}
    return {"query": one[0] if one else -1, **packed}


def _both_palettes(palette: Palette | tuple[Palette, Palette]) -> tuple[list[str], list[str]]:
    is_pair = len(palette) == 2 and not any(isinstance(part, str) for part in palette)
    pair = cast("tuple[Palette, Palette]", palette if is_pair else (palette, palette))
    light, dark = list(pair[0]), list(pair[1])
    if len(light) != len(dark):
        message = (
            f"expected a light and a dark palette of equal length, got {len(light)} and {len(dark)} colours: "
            "give every category a colour in both"
        )
        raise ValueError(message)
    if not 1 <= len(light) <= MAX_CATEGORIES:
        message = f"expected 1 to {MAX_CATEGORIES} colours, got {len(light)}: colour 0 is the background"
        raise ValueError(message)
    for colour in (*light, *dark):
        if not _is_colour(colour):
            message = f"expected colours like '#1f77b4', got {colour!r}: write them as # and six hex digits"
            raise ValueError(message)
    return light, dark


def _is_colour(colour: object) -> bool:
    if not (isinstance(colour, str) and len(colour) == 7 and colour[0] == "#"):
        return False
    return all(digit in "0123456789abcdefABCDEF" for digit in colour[1:])


def _packed_codes(codes: npt.ArrayLike, n_points: int, *, n_categories: int) -> bytes:
    """Pack category codes the shortest way: uint8, uint16, or only the points that are not background."""
    values = np.asarray(codes)
    if values.shape != (n_points,) or (n_points and values.dtype.kind not in "iu"):
        message = (
            f"expected {n_points} whole-number category codes, got shape {values.shape} of {values.dtype}: "
            "give one code for each name, 0 for the background"
        )
        raise ValueError(message)
    if n_points and not 0 <= values.min() <= values.max() < n_categories:
        message = (
            f"expected category codes from 0 to {n_categories - 1}, got {values.min()} to {values.max()}: "
            "give the palette one colour for each code"
        )
        raise ValueError(message)
    dense = values.astype("<u1" if n_categories <= 256 else "<u2")
    coloured = np.flatnonzero(values)
    if 6 * coloured.size < dense.nbytes:
        kind, body = SPARSE, coloured.astype("<u4").tobytes() + values[coloured].astype("<u2").tobytes()
    else:
        kind, body = (DENSE_8 if dense.itemsize == 1 else DENSE_16), dense.tobytes()
    return bytes([kind, 0, 0, 0]) + body


def _checked_indices(indices: Sequence[int] | Indices, n_points: int, *, what: str) -> list[int]:
    """Positions as plain ints, in the given order, each once."""
    values = np.asarray(indices)
    if values.size == 0:
        return []
    if values.ndim != 1 or values.dtype.kind not in "iu":
        message = (
            f"expected {what} as whole-number positions, got shape {values.shape} of {values.dtype}: "
            "look names up in the order of the maps"
        )
        raise ValueError(message)
    wrong = values[(values < 0) | (values >= n_points)]
    if wrong.size:
        message = (
            f"expected {what} positions from 0 to {n_points - 1}, got {wrong[0]}: "
            "leave out perturbations that are not on the maps"
        )
        raise ValueError(message)
    return list(dict.fromkeys(values.tolist()))


def _packed_selection(chosen: Indices, n_points: int, *, revision: int) -> bytes:
    """Pack a selection as a list of positions or as one bit for each point, whichever is shorter."""
    n_mask = (n_points + 7) // 8
    if 4 * chosen.size <= n_mask:
        kind, body = INDEX_LIST, chosen.astype("<u4").tobytes()
    else:
        flags = np.zeros(n_points, dtype=np.uint8)
        flags[chosen] = 1
        kind, body = BITMASK, np.packbits(flags, bitorder="little").tobytes()
    return bytes([kind, 0, 0, 0]) + revision.to_bytes(4, "little") + body


def _unpacked_selection(packed: bytes, n_points: int, *, revision: int) -> Indices:
    """Read a selection that a client may have forged; what is not valid is left out."""
    nothing = np.empty(0, dtype=np.intp)
    # A selection made on the points shown before must not select others by the same positions.
    if len(packed) < SELECTION_HEADER or int.from_bytes(packed[4:8], "little") != revision:
        return nothing
    kind, body = packed[0], packed[SELECTION_HEADER:]
    if kind == INDEX_LIST:
        listed = np.frombuffer(body[: len(body) // 4 * 4], dtype="<u4").astype(np.intp)
        return np.unique(listed[listed < n_points])
    if kind == BITMASK:
        flags = np.unpackbits(np.frombuffer(body, dtype=np.uint8), bitorder="little")
        return np.flatnonzero(flags[:n_points])
    return nothing


def _is_click(value: object) -> bool:
    """Whether a value has the form [position, counter, revision]."""
    return (
        isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part < 2**53 for part in value)
    )


def _client_values(sent: dict[str, Any], n_points: int) -> dict[str, Any]:
    """Keep of a client's message what the client may decide, when it has the right form."""
    kept: dict[str, Any] = {}
    selection = sent.get("selection")
    longest = SELECTION_HEADER + 4 * n_points
    if isinstance(selection, bytes | bytearray | memoryview) and len(bytes(selection)) <= longest:
        kept["selection"] = bytes(selection)
    if _is_click(sent.get("click")):
        kept["click"] = list(sent["click"])
    return kept
