"""What two perturbations of a map have in common without being related: the shared axis, and the layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, shown
from explorer.screen import Screen

AXIS_BINS = 20
N_TERTILES = 3
# One to ask about, one neighbour, and one other to stand in: a bin of fewer says nothing.
FEWEST_IN_BIN = 3
FEWEST_FOR_STRATA = AXIS_BINS * FEWEST_IN_BIN
# Units of a layout leave each bin of the axis two perturbations on average, or they are too small to match by.
FEWEST_IN_UNIT = 2 * AXIS_BINS
NO_LAYOUT = "layout not declared: shared plate positions would look like replication"

# What is left of a profile after a subtraction is rounding of float32 below this share of its length.
_ROUNDING = 1e-6
# Scores are told apart to as many decimals as cosines.
_DECIMALS = 6
# Up to so many features the covariance is taken whole; beyond, only its product with a vector.
_MOST_WHOLE = 2_048
_MOST_BYTES = 256 * 2**20
_BLOCK_BYTES = 16 * 2**20
_WELL = re.compile(r"(?P<row>[A-Za-z]{1,2})[-_ ]?(?P<column>[0-9]{1,2})")
# Rows and columns of the plates that there are.
_PLATES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))

Numbers = npt.NDArray[np.intp]
_Blocks = Callable[[], Iterator[tuple[slice, npt.NDArray[np.float64]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Which perturbations of a map could stand in for one another, shape (n_perturbations,) each.

    A number of −1 says that a perturbation has no place: it is a member of no stratum.

    Attributes
    ----------
    names
        Perturbations of the map, sorted.
    axis
        Bin of the score on the shared axis, 0 to 19, as equal in size as can be; −1 for a profile of length zero.
    tertile
        Third of that score, 0 to 2; −1 likewise.
    layout
        Number of the layout unit, −1 without a position; None where no layout is declared.
    note
        What the reader must know of the layout; empty where there is nothing.
    """

    names: tuple[str, ...] = field(repr=False)
    axis: Numbers = field(repr=False)
    tertile: Numbers = field(repr=False)
    layout: Numbers | None = field(repr=False)
    note: str = ""

    @property
    def stratum(self) -> Numbers:
        """Bin crossed with layout unit, as one number; −1 where either is."""
        if self.layout is None:
            return self.axis
        n_bins = max(AXIS_BINS, int(self.axis.max(initial=0)) + 1)
        crossed = self.layout * n_bins + self.axis
        return np.where((self.axis < 0) | (self.layout < 0), -1, crossed).astype(np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class LayoutUnits:
    """Where on the plate each perturbation of a screen stood, as finely as can be matched.

    Attributes
    ----------
    units
        Number of the unit of each perturbation, shape (n_perturbations,); −1 without a position. Perturbations
        that stood at several positions, none of them in most of their rows, are one unit: no position marks them.
    said
        What a unit is: ``Metadata_Well``, ``row of Metadata_Well``, ``edge of the plate by Metadata_Well``.
    note
        What the reader must know; empty where there is nothing.
    """

    units: Numbers = field(repr=False)
    said: str
    note: str = ""


def centered(perturbation_map: PerturbationMap) -> PerturbationMap:
    """Subtract the mean profile of the perturbations, so that cosines of the map are centred ones; the recipe says so.

    Returns
    -------
    PerturbationMap
        A profile that was the mean, to the rounding of float32, has length zero. The recipe is another one, so that
        its fingerprint is too.
    """
    profiles = perturbation_map.profiles
    mean = profiles.mean(axis=0, dtype=np.float64)
    moved = np.empty_like(profiles)
    scale = perturbation_map.norms + float(np.linalg.norm(mean))
    for rows in _row_blocks(*profiles.shape):
        part = profiles[rows] - mean
        part[np.linalg.norm(part, axis=1) <= _ROUNDING * scale[rows]] = 0.0
        moved[rows] = part
    recipe = perturbation_map.recipe
    said = f"{recipe.filter}; less the mean profile of {perturbation_map.n_perturbations:,} perturbations"
    return replace(perturbation_map, profiles=moved, recipe=replace(recipe, filter=said))


def shared_axis(perturbation_map: PerturbationMap) -> npt.NDArray[np.float64]:
    """Score perturbations on the first principal component of their profiles, each divided by its length, then centred.

    That is the direction in which most perturbations are alike or opposite whatever they do: effect size in fitness
    screens, stress in others.

    Parameters
    ----------
    perturbation_map
        The map, as its neighbours are taken from it: of `centered` profiles where cosines are centred ones.

    Returns
    -------
    numpy.ndarray
        Shape (n_perturbations,), to six decimals, the longer tail positive; NaN for profiles of length zero.

    Raises
    ------
    InputError
        When the profiles all point the same way, so that there is no axis.
    """
    usable = np.flatnonzero(perturbation_map.norms > 0)
    n, n_features = len(usable), perturbation_map.profiles.shape[1]
    scores = np.full(perturbation_map.n_perturbations, np.nan)

    def blocks() -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        for rows in _row_blocks(n, n_features):
            chosen = usable[rows]
            yield rows, perturbation_map.profiles[chosen] / perturbation_map.norms[chosen, None]

    mean = np.zeros(n_features)
    for _, part in blocks():
        mean += part.sum(axis=0) / n
    spread = sum(float(((part - mean) ** 2).sum()) for _, part in blocks())
    if not spread > n * _ROUNDING**2:
        recipe = perturbation_map.recipe
        message = (
            f"the profiles of {shown(recipe.representation)} in {shown(recipe.context)} all point the same way, "
            "expected profiles that vary: choose another representation or alignment"
        )
        raise InputError(message)
    direction = _first_direction(blocks, mean, n_rows=n)
    found = np.empty(n)
    for rows, part in blocks():
        found[rows] = (part - mean) @ direction
    scores[usable] = _oriented(np.round(found, _DECIMALS))
    return scores


def axis_strata(perturbation_map: PerturbationMap, *, layout: npt.ArrayLike | None = None) -> Strata:
    """Divide the perturbations of a map by the shared axis and by the layout.

    Parameters
    ----------
    perturbation_map
        The map, as its neighbours are taken from it.
    layout
        Layout unit of each perturbation, shape (n_perturbations,), −1 without one; None where none is declared.

    Returns
    -------
    Strata
        Equal scores are divided by name.

    Raises
    ------
    InputError
        When there are fewer than 60 perturbations with a profile, three for each of the 20 bins, or the profiles do
        not vary.
    """
    n_usable = int((perturbation_map.norms > 0).sum())
    if n_usable < FEWEST_FOR_STRATA:
        n, recipe = perturbation_map.n_perturbations, perturbation_map.recipe
        needed = f"expected at least {FEWEST_FOR_STRATA} ({FEWEST_IN_BIN} for each of {AXIS_BINS} bins of the axis)"
        if n < FEWEST_FOR_STRATA:
            message = (
                f"{n:,} perturbations are too few to tell neighbours from chance, {needed}: compare contexts that "
                "share more"
            )
        else:
            message = (
                f"{n_usable:,} of {n:,} profiles of {shown(recipe.representation)} in {shown(recipe.context)} are "
                f"longer than zero, {needed}: choose a representation that varies"
            )
        raise InputError(message)
    scores = shared_axis(perturbation_map)
    units = None if layout is None else np.asarray(layout, dtype=np.intp)
    if units is not None and units.shape != scores.shape:
        msg = f"{len(units):,} layout units for {len(scores):,} perturbations: give one each"
        raise InputError(msg)
    note = NO_LAYOUT
    if units is not None:
        n_without = int((units < 0).sum())
        note = (
            f"{n_without:,} of {len(units):,} perturbations have no position in the layout, so nobody stands in for "
            "them"
            if n_without
            else ""
        )
    return Strata(perturbation_map.names, _divided(scores, AXIS_BINS), _divided(scores, N_TERTILES), units, note)


def layout_units(
    screen: Screen, names: tuple[str, ...], *, columns: Sequence[str] | None = None
) -> npt.NDArray[np.intp] | None:
    """Give numbers to the layout units of perturbations of a screen; None where no layout is declared.

    Parameters
    ----------
    screen, names, columns
        As in `find_layout`.
    """
    found = find_layout(screen, names, columns=columns)
    return None if found is None else found.units


def find_layout(screen: Screen, names: tuple[str, ...], *, columns: Sequence[str] | None = None) -> LayoutUnits | None:
    """Find where on the plate perturbations stood, as finely as perturbations can be matched by it.

    A perturbation stands where more than half of its rows do. Where positions are so many that hardly two
    perturbations share one (each compound in a well of its own), the column of a well's name is taken, else its
    row, else whether it lies at the edge of the plate; of several declared columns, else one alone. Units that leave
    every bin of the axis fewer than two perturbations match nobody.

    Parameters
    ----------
    screen
        The rows.
    names
        Perturbations, shape (n_perturbations,).
    columns
        Columns of positions; the role *group* without them.

    Returns
    -------
    LayoutUnits or None
        None where no column is declared. Where no division leaves enough perturbations in a unit, all are one unit,
        and the note says so.
    """
    declared = tuple(screen.roles.group if columns is None else columns)
    if not declared:
        return None
    tried = []
    for said, positions in _divisions(screen, declared):
        units = _majority(screen.rows[screen.roles.perturbation], positions, names)
        placed = units[units >= 0]
        sizes = np.bincount(placed)
        tried.append((said, len(sizes)))
        if len(placed) and np.median(sizes[placed]) >= FEWEST_IN_UNIT:
            note = (
                f"layout matched by {said} alone: {_too_fine(tried[0], len(names))}; finer positions that contexts "
                "share would look like replication"
            )
            return LayoutUnits(units, said, note if len(tried) > 1 else "")
    note = (
        f"layout declared but not matched: {_too_fine(tried[0], len(names))}; shared plate positions would look like "
        "replication"
    )
    return LayoutUnits(np.zeros(len(names), dtype=np.intp), "not matched", note)


def _too_fine(division: tuple[str, int], n_names: int) -> str:
    said, n_units = division
    return f"{said} has {n_units:,} units for {n_names:,} perturbations, expected {FEWEST_IN_UNIT} in each"


def _divisions(screen: Screen, columns: tuple[str, ...]) -> Iterator[tuple[str, pl.Series]]:
    """Divide the rows of a screen by their positions, finely first."""
    texts = {column: screen.rows[column].cast(pl.String) for column in columns}
    if len(columns) > 1:
        together = pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator="\x1f")).to_series()
        yield " and ".join(columns), together
    for column in sorted(columns, key=lambda column: -texts[column].n_unique()):
        yield column, texts[column]
        wells = _read_wells(texts[column])
        if wells is not None:
            for part in ("column", "row"):
                yield f"{part} of {column}", wells[part]
            yield f"edge of the plate by {column}", wells["edge"]


def _read_wells(positions: pl.Series) -> dict[str, pl.Series] | None:
    """Read the names of wells, such as B07; None where positions are named otherwise."""
    names = positions.unique().drop_nulls().to_list()
    found = {name: _WELL.fullmatch(name.strip()) for name in names}
    if not names or None in found.values():
        return None
    # A is 0, Z is 25, AA is 26.
    rows, columns = {}, {}
    for name, match in found.items():
        if match is not None:
            letters = match["row"].upper()
            rows[name] = sum((ord(letter) - 64) * 26**place for place, letter in enumerate(reversed(letters))) - 1
            columns[name] = int(match["column"]) - 1
    last = max(rows.values()), max(columns.values())
    plate = next((size for size in _PLATES if last[0] < size[0] and last[1] < size[1]), None)
    if plate is None or min(columns.values()) < 0:
        return None
    edge = {
        name: "edge" if rows[name] in (0, plate[0] - 1) or columns[name] in (0, plate[1] - 1) else "inside"
        for name in names
    }
    parts = {
        "row": {name: str(number) for name, number in rows.items()},
        "column": {name: str(number) for name, number in columns.items()},
        "edge": edge,
    }
    return {part: positions.replace_strict(of, default=None, return_dtype=pl.String) for part, of in parts.items()}


def _majority(perturbations: pl.Series, positions: pl.Series, names: tuple[str, ...]) -> Numbers:
    """Give a number to the position that more than half of a perturbation's rows have, shape (n_names,)."""
    rows = pl.DataFrame({"perturbation": perturbations.cast(pl.String), "position": positions}).drop_nulls()
    counted = rows.group_by("perturbation", "position").len()
    # More than half can be at one position alone, so that no tie has to be broken.
    most = counted.with_columns((2 * pl.col("len") > pl.col("len").sum().over("perturbation")).alias("most"))
    of = dict(most.filter("most").select("perturbation", "position").iter_rows())
    everyone = set(rows["perturbation"].unique().to_list())
    kept = sorted({of[name] for name in names if name in of})
    number = {position: place for place, position in enumerate(kept)}
    spread = len(kept)
    return np.array(
        [number[of[name]] if name in of else spread if name in everyone else -1 for name in names], dtype=np.intp
    )


def _divided(scores: npt.NDArray[np.float64], n_parts: int) -> Numbers:
    """Divide scores into parts as equal as can be, lowest first, ties by row; −1 where there is none."""
    usable = np.flatnonzero(~np.isnan(scores))
    order = usable[np.argsort(scores[usable], kind="stable")]
    parts = np.full(len(scores), -1, dtype=np.intp)
    parts[order] = np.arange(len(order)) * n_parts // max(1, len(order))
    parts.setflags(write=False)
    return parts


def _oriented(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn the longer tail to the positive side: the sign of a component is arbitrary."""
    cubes = scores**3
    if abs(cubes.sum()) > _ROUNDING * np.abs(cubes).sum():
        sign = np.sign(cubes.sum())
    else:
        # Symmetric: the first by name that is not in the middle.
        sign = np.sign(scores[np.flatnonzero(scores)[0]]) if scores.any() else 1.0
    return np.asarray(sign * scores + 0.0)


def _first_direction(blocks: _Blocks, mean: npt.NDArray[np.float64], *, n_rows: int) -> npt.NDArray[np.float64]:
    """First principal component of rows that are read a block at a time, shape (n_features,)."""
    n_features = len(mean)
    few_rows = n_rows < n_features and n_rows <= _MOST_WHOLE and 8 * n_rows * n_features <= _MOST_BYTES
    if few_rows or n_features <= _MOST_WHOLE:
        from scipy.linalg import eigh
    if few_rows:
        moved = np.concatenate([part for _, part in blocks()]) - mean
        _, vectors = eigh(moved @ moved.T, subset_by_index=(n_rows - 1, n_rows - 1))
        direction = vectors[:, 0] @ moved
        return np.asarray(direction / np.linalg.norm(direction))
    if n_features <= _MOST_WHOLE:
        products = np.zeros((n_features, n_features))
        for _, part in blocks():
            moved = part - mean
            products += moved.T @ moved
        _, vectors = eigh(products, subset_by_index=(n_features - 1, n_features - 1))
        return np.asarray(vectors[:, 0])
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = np.zeros(n_features)
        for _, part in blocks():
            along = part @ vector.ravel() - mean @ vector.ravel()
            total += along @ part - along.sum() * mean
        return total

    operator = LinearOperator((n_features, n_features), matvec=product, dtype=np.float64)
    # Any start that is not at a right angle to the component gives the same one.
    start = np.random.default_rng(0).standard_normal(n_features)
    _, vectors = eigsh(operator, k=1, which="LA", v0=start)
    return np.asarray(vectors[:, 0])


def _row_blocks(n_rows: int, n_features: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // (8 * max(1, n_features)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
