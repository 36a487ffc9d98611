"""Pseudo-perturbations: controls drawn to lie as the rows of a perturbation do."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from explorer.replicates import Floats, Integers, Values, lengths, pair_consistency, profiles

# Layouts are simulated one by one up to this number; beyond it, those alike share one simulation.
MOST_CLASSES = 128
# Layouts whose counts of rows differ by less than this ratio are alike.
CLASS_RATIO = 1.25
# Pseudo-perturbations that take this share of the controls or more have too many in common. Measured at a nominal 5 %:
# drawn without replacement they call 7 % of inactive perturbations from a quarter on, 12 % at a half, 30 % at seven
# eighths; drawn with replacement 0 to 5 %.
CROWDED = 0.25
# Values held at once while pseudo-perturbations are made.
_MOST_VALUES = 2**22

# One line a unit: number of the guide (0 where none is declared), batch, rows.
Layout = tuple[tuple[int, int, int], ...]


def layouts_of(owner: Integers, *, guide: Integers, batch: Integers, counts: Integers) -> list[Layout]:
    """Describe how the rows of each owner lie over guides and batches, whatever the guides' names.

    Parameters
    ----------
    owner, guide, batch, counts
        Of each unit, shape (n_units,); owners are numbered from 0 without gaps.
    """
    lines: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(int(owner.max(initial=-1)) + 1)]
    for number, of_guide, place, rows in zip(
        owner.tolist(), guide.tolist(), batch.tolist(), counts.tolist(), strict=True
    ):
        lines[number].setdefault(of_guide, []).append((place, rows))
    return [
        tuple(
            (number, place, rows)
            for number, own in enumerate(sorted(sorted(own) for own in guides.values()))
            for place, rows in own
        )
        for guides in lines
    ]


def classify(
    layouts: Sequence[Layout], *, most: int = MOST_CLASSES
) -> tuple[npt.NDArray[np.int64], list[Layout], bool]:
    """Put layouts that are alike together, so that the cost of a null does not grow with the perturbations.

    Returns
    -------
    tuple
        Class of each layout; the layout that stands for each class, its median by rows; and whether every class
        holds equal layouts only. Single rows always stand for themselves.
    """
    single = [layout for layout in layouts if _is_single(layout)]
    rest = [layout for layout in layouts if not _is_single(layout)]
    for level, key_of in enumerate(_KEYS):
        keys = [key_of(layout) for layout in rest]
        if len(set(keys)) <= most or level == len(_KEYS) - 1:
            break
    members: dict[object, list[Layout]] = {}
    for key, layout in zip([*keys, *single], [*rest, *single], strict=True):
        members.setdefault(key, []).append(layout)
    number = {key: place for place, key in enumerate(members)}
    chosen = [
        sorted(own, key=lambda layout: (sum(rows for *_, rows in layout), layout))[(len(own) - 1) // 2]
        for own in members.values()
    ]
    remaining = iter(keys)
    codes = [number[layout if _is_single(layout) else next(remaining)] for layout in layouts]
    return np.array(codes, dtype=np.int64), chosen, level == 0


def round_rows(rows: int) -> int:
    """Round a number of rows to a grid on which neighbours differ by `CLASS_RATIO`."""
    return max(1, round(CLASS_RATIO ** _bin(rows)))


def _is_single(layout: Layout) -> bool:
    return len(layout) == 1 and layout[0][2] == 1


def _bin(rows: int) -> int:
    return round(math.log(rows) / math.log(CLASS_RATIO))


def _exact(layout: Layout) -> object:
    return layout


def _binned(layout: Layout) -> object:
    return tuple((guide, batch, _bin(rows)) for guide, batch, rows in layout)


def _by_batches(layout: Layout) -> object:
    return frozenset(batch for _, batch, _ in layout), *_by_size(layout)


def _by_size(layout: Layout) -> tuple[int, int, int, int]:
    n_guides = len({guide for guide, *_ in layout})
    n_batches = len({batch for _, batch, _ in layout})
    return n_guides, _bin(n_batches), _bin(len(layout)), _bin(sum(rows for *_, rows in layout))


def _by_rows(layout: Layout) -> object:
    return _bin(sum(rows for *_, rows in layout)), len(layout) > 1


_KEYS = (_exact, _binned, _by_batches, _by_size, _by_rows)


def generator_for(seed: int, layout: object) -> np.random.Generator:
    """Make the random generator of a layout: its draws depend on no other perturbation of the screen."""
    return np.random.default_rng([seed, zlib.crc32(repr(layout).encode())])


def is_crowded(rows: int, available: int) -> bool:
    """Whether so large a share of the controls is wanted that they are drawn with replacement."""
    return rows > 1 and rows >= CROWDED * available


def draw_rows(
    wanted: Mapping[int, int],
    available: Mapping[int, int],
    *,
    n_draws: int,
    rng: np.random.Generator,
    enumerable: bool = True,
) -> dict[int, npt.NDArray[np.int64]]:
    """Draw controls for pseudo-perturbations, without replacement within each unless a batch is crowded.

    Parameters
    ----------
    wanted, available
        By batch: rows of a pseudo-perturbation, and controls to draw from.
    n_draws
        How many; every choice there is, once, where there are no more than that. A single row is always drawn from
        all controls in turn.
    rng
        Of the draws.
    enumerable
        Whether a choice of rows is all that matters, not their order.

    Returns
    -------
    dict
        By batch: places of the drawn controls, shape (n_draws, rows), in a random or in ascending order.
    """
    crowded = {batch: is_crowded(rows, available[batch]) for batch, rows in wanted.items()}
    # A control drawn twice is a pair of cosine 1 where there are no batches; leaving those pairs out would call 13 % of
    # inactive perturbations at 5 % where there are twice as many rows as controls, since all draws share one mean.
    n_choices = math.prod(math.comb(available[batch], rows) for batch, rows in wanted.items())
    is_single = sum(wanted.values()) == 1
    if enumerable and not any(crowded.values()) and (is_single or n_choices <= n_draws):
        choices = product(*(combinations(range(available[batch]), rows) for batch, rows in wanted.items()))
        every = np.array([sum(choice, ()) for choice in choices], dtype=np.int64).reshape(n_choices, -1)
        bounds = np.cumsum([0, *wanted.values()])
        return {batch: every[:, left:right] for batch, left, right in zip(wanted, bounds[:-1], bounds[1:], strict=True)}
    return {
        batch: rng.integers(available[batch], size=(n_draws, rows))
        if crowded[batch]
        else draw_places(rows, available[batch], n_draws=n_draws, rng=rng)
        for batch, rows in wanted.items()
    }


def draw_places(rows: int, available: int, *, n_draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw places without replacement, many times.

    Returns
    -------
    numpy.ndarray
        Shape (n_draws, rows), each line in a random order.
    """
    if rows == 1:
        return rng.integers(available, size=(n_draws, rows))
    if rows**2 <= 3 * available:
        # A good share of lines has no repeats: draw again where there are any.
        drawn = rng.integers(available, size=(n_draws, rows))
        while True:
            ordered = np.sort(drawn, axis=1)
            again = np.flatnonzero((np.diff(ordered, axis=1) == 0).any(axis=1))
            if not len(again):
                return drawn
            drawn[again] = rng.integers(available, size=(len(again), rows))
    drawn = np.empty((n_draws, rows), dtype=np.int64)
    step = max(1, _MOST_VALUES // available)
    for start in range(0, n_draws, step):
        here = drawn[start : start + step]
        order = rng.random((len(here), available))
        # A partition orders nothing within the first rows; a shuffle of them comes with the random numbers' order.
        part = np.argpartition(order, rows - 1, axis=1)[:, :rows]
        here[:] = np.take_along_axis(part, np.argsort(np.take_along_axis(order, part, axis=1), axis=1), axis=1)
    return drawn


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """Controls to draw pseudo-perturbations from.

    Attributes
    ----------
    values, directions
        By batch: aligned rows, and the same scaled to length 1, shape (n_controls, n_features) each.
    """

    values: Mapping[int, Values]
    directions: Mapping[int, Values]

    def compact(self) -> Controls:
        """Turn the axes so that fewer features hold all controls: lengths and cosines stay as they are.

        Rows span at most as many dimensions as there are rows, so that a thousand genes need not be added up where
        there are a hundred controls.
        """
        every = np.concatenate([np.asarray(values, dtype=np.float64) for values in self.values.values()])
        if not len(every) or len(every) >= every.shape[1]:
            return self
        axes, _ = np.linalg.qr(every.T)

        def turned(parts: Mapping[int, Values]) -> dict[int, Values]:
            return {
                batch: (np.asarray(part, dtype=np.float64) @ axes).astype(part.dtype) for batch, part in parts.items()
            }

        return Controls(turned(self.values), turned(self.directions))


def pseudo_statistics(
    layout: Layout,
    drawn: Mapping[int, npt.NDArray[np.int64]],
    controls: Controls,
    *,
    by_guide: bool,
    across_batches: bool,
) -> tuple[Floats, Floats]:
    """Measure consistency and length of profile of pseudo-perturbations.

    Parameters
    ----------
    layout
        What they imitate.
    drawn
        By batch, places of their rows among the controls, shape (n_draws, rows).
    controls
        What they are drawn from.
    by_guide
        Whether a replicate is the mean of one guide's rows in one batch; else every row is a replicate.
    across_batches
        Whether pairs must lie in two batches.

    Returns
    -------
    tuple
        Two arrays of shape (n_draws,).
    """
    n_draws = len(next(iter(drawn.values())))
    n_features = next(iter(controls.values.values())).shape[1]
    consistency, length = np.empty(n_draws), np.empty(n_draws)
    for start, stop in _blocks(n_draws, len(layout) * n_features):
        here = {batch: rows[start:stop] for batch, rows in drawn.items()}
        consistency[start:stop], length[start:stop] = _statistics(
            layout, here, controls, by_guide=by_guide, across_batches=across_batches
        )
    return consistency, length


def _statistics(
    layout: Layout,
    drawn: Mapping[int, npt.NDArray[np.int64]],
    controls: Controls,
    *,
    by_guide: bool,
    across_batches: bool,
) -> tuple[Floats, Floats]:
    n_draws = len(next(iter(drawn.values())))
    taken = dict.fromkeys(drawn, 0)
    means: list[Values] = []
    sums: list[Values] = []
    counts: list[npt.NDArray[np.int64]] = []
    for _, batch, rows in layout:
        places = drawn[batch][:, taken[batch] : taken[batch] + rows]
        taken[batch] += rows
        mean = sum_rows(controls.values[batch], places) / rows
        means.append(mean)
        if by_guide:
            length = lengths(mean)
            sums.append(mean / np.where(length > 0, length, 1.0).astype(mean.dtype)[:, None])
            counts.append((length > 0).astype(np.int64))
        else:
            directions = controls.directions[batch]
            sums.append(sum_rows(directions, places))
            counts.append(np.count_nonzero(np.any(directions, axis=1, keepdims=True)[places, 0], axis=1))
    guides, batches, rows_of = (np.tile([line[part] for line in layout], n_draws) for part in range(3))
    owner = np.repeat(np.arange(n_draws), len(layout))
    stacked, of_rows = (np.stack(part, axis=1).reshape(-1, means[0].shape[1]) for part in (sums, means))
    found = pair_consistency(
        stacked,
        np.stack(counts, axis=1).reshape(-1),
        owner,
        batch=batches if across_batches else None,
        guide=guides if by_guide else None,
    )
    return found, lengths(profiles(of_rows, rows_of, owner, guide=guides if by_guide else None))


def sum_rows(values: Values, places: npt.NDArray[np.int64]) -> Values:
    """Add up chosen rows.

    Parameters
    ----------
    values
        Shape (n_rows, n_features).
    places
        Rows of each sum, shape (n_sums, rows).

    Returns
    -------
    numpy.ndarray
        Shape (n_sums, n_features).
    """
    n_sums, rows = places.shape
    if 32 * rows <= len(values):
        total = values[places[:, 0]].copy()
        for slot in range(1, rows):
            total += values[places[:, slot]]
        return total
    # So large a share of the rows is added faster by a matrix product.
    total = np.empty((n_sums, values.shape[1]), dtype=values.dtype)
    for start, stop in _blocks(n_sums, len(values)):
        part = places[start:stop]
        cell = np.arange(stop - start)[:, None] * len(values) + part
        times = np.bincount(cell.ravel(), minlength=(stop - start) * len(values))
        total[start:stop] = times.reshape(stop - start, -1).astype(values.dtype) @ values
    return total


def _blocks(n: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _MOST_VALUES // max(1, width))
    for start in range(0, n, step):
        yield start, min(start + step, n)
