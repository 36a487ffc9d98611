"""Rows to maps: one profile a perturbation, with the recipe that made it."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.align import Alignment, check_method, fit_alignment, moments_for, needs_covariance
from explorer.engine import Engine, LocalEngine
from explorer.errors import InputError, listed, unknown_name
from explorer.labels import RowLabels, label_rows
from explorer.medians import group_medians
from explorer.moments import (
    Floats,
    Progress,
    ScreenMoments,
    describe_excluded,
    require_rows,
)
from explorer.rowsums import sum_runs
from explorer.screen import Kind, Representation, Screen
from explorer.totals import GuideTotals, require_totals_memory, unit_totals

if TYPE_CHECKING:
    from anndata import AnnData

Aggregate = Literal["mean", "median"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
FEWEST_PERTURBATIONS = 3
# Up to this size the table of units is kept and the rows are read once; beyond, they are read twice. A second
# reading costs as much as a table too large for the processor's cache, unless every row must be rotated.
MOST_UNIT_BYTES = 32 * 2**20
MOST_ROTATED_UNIT_BYTES = 128 * 2**20
_DIGEST_ROWS = 2**18
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that turned rows into a map.

    Attributes
    ----------
    dataset, context, representation, kind
        Where the rows came from.
    source
        Digest of the content of the feature matrix.
    rows
        Digest of the labels (perturbation, guide, batch, control) of the rows used.
    filter
        Which rows were used, in words.
    alignment, aggregate
        What was done to them.
    seed
        Seed of whatever was random; None where nothing was.
    notes
        What the reader must know: rows left out, covariances shrunk.
    """

    dataset: str
    context: str
    representation: str
    kind: Kind
    source: str
    rows: str
    filter: str = "all rows"
    alignment: str = "none"
    aggregate: Aggregate = "mean"
    seed: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits; equal recipes on equal data give equal fingerprints everywhere."""
        # The data set's folder may be renamed, so its name is not part of what was done.
        content = {key: value for key, value in asdict(self).items() if key not in ("dataset", "notes")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def sentence(self) -> str:
        """The recipe in one line."""
        return (
            f"{self.representation} ({self.kind}) of {self.context}; {self.filter}; alignment {self.alignment}; "
            f"{self.aggregate} (rows to guides, where there are any, to perturbations); recipe {self.fingerprint}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class PerturbationMap:
    """One profile a perturbation, made by one recipe.

    Attributes
    ----------
    names
        Perturbations, each once; sorted on construction, so that a tie is broken by name wherever one is.
    profiles
        Shape (n_perturbations, n_features), float32, aligned units; read-only.
    table
        One line a perturbation: ``perturbation, n_rows, n_guides, n_batches``; n_guides is null where no guide
        is declared.
    recipe
        How it was made.
    norms
        Length of each profile, shape (n_perturbations,); computed here.

    Raises
    ------
    InputError
        When names repeat, shapes disagree, or there are fewer than three perturbations.
    """

    names: tuple[str, ...] = field(repr=False)
    profiles: npt.NDArray[np.float32] = field(repr=False)
    table: pl.DataFrame = field(repr=False)
    recipe: Recipe
    norms: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.table["perturbation"].to_list() != list(self.names):
            msg = "the table of a map must name its perturbations in the order of its profiles: give one line each"
            raise InputError(msg)
        if len(self.names) != len(self.profiles):
            msg = f"{len(self.names):,} names for {len(self.profiles):,} profiles: give one name each"
            raise InputError(msg)
        if len(set(self.names)) != len(self.names):
            seen: set[str] = set()
            repeated = [name for name in self.names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
            msg = f"duplicate perturbation names: {listed(dict.fromkeys(repeated))}; make them unique"
            raise InputError(msg)
        if len(self.names) < FEWEST_PERTURBATIONS:
            message = (
                f"a map needs at least {FEWEST_PERTURBATIONS} perturbations with finite profiles, "
                f"{len(self.names)} are left: check the roles and the values"
            )
            raise InputError(message)
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        if order != list(range(len(order))):
            object.__setattr__(self, "names", tuple(self.names[row] for row in order))
            object.__setattr__(self, "profiles", np.asarray(self.profiles)[order])
            object.__setattr__(self, "table", self.table[order])
        # A view, so that an array the caller still holds is not locked.
        profiles = np.ascontiguousarray(self.profiles, dtype=np.float32).view()
        # In float64, since squares of small or large float32 values leave its range.
        norms = np.sqrt(np.einsum("ij,ij->i", profiles, profiles, dtype=np.float64))
        for array in (profiles, norms):
            array.setflags(write=False)
        object.__setattr__(self, "profiles", profiles)
        object.__setattr__(self, "norms", norms)

    @property
    def n_perturbations(self) -> int:
        """Number of perturbations."""
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the recipe."""
        return self.recipe.fingerprint

    def __contains__(self, name: object) -> bool:
        """Whether there is a perturbation of this name."""
        if not isinstance(name, str):
            return False
        row = bisect_left(self.names, name)
        return row < len(self.names) and self.names[row] == name

    def position(self, name: str) -> int:
        """Row of a perturbation.

        Raises
        ------
        InputError
            When it is not in the map; the message names the nearest.
        """
        if name not in self:
            msg = "perturbation"
            raise unknown_name(msg, name, self.names)
        return bisect_left(self.names, name)

    def restricted_to(self, names: Iterable[str]) -> PerturbationMap:
        """Take some perturbations; they stay sorted."""
        wanted = sorted(set(names))
        if wanted == list(self.names):
            return self
        rows = [self.position(name) for name in wanted]
        return PerturbationMap(tuple(wanted), self.profiles[rows], self.table[rows], self.recipe)

    def to_anndata(self, *, activity: pl.DataFrame | None = None) -> AnnData:
        """Convert to AnnData: ``X`` profiles, ``obs`` the table, ``uns["explorer"]`` recipe and fingerprint.

        The perturbations are both obs_names and a column, so that the file can be opened as a screen of its own.

        Parameters
        ----------
        activity
            Further columns of ``obs``, one line a perturbation by its name in the column ``perturbation``.
        """
        import anndata
        import pandas as pd

        table = self.table
        if activity is not None:
            table = table.join(activity, on="perturbation", how="left", maintain_order="left")
        columns = {name: table[name].to_list() for name in table.columns}
        frame = pd.DataFrame(columns, index=pd.Index(list(self.names), dtype=object))
        frame = frame.loc[:, frame.notna().any(axis=0)]
        recipe = {key: value for key, value in asdict(self.recipe).items() if value is not None}
        recipe["notes"] = list(self.recipe.notes)
        return anndata.AnnData(
            X=np.array(self.profiles),
            obs=frame,
            uns={"explorer": {"recipe": json.dumps(recipe), "fingerprint": self.fingerprint}},
        )


def build_map(
    screen: Screen,
    representation: str,
    *,
    alignment: str = "none",
    aggregate: str = "mean",
    rows: npt.NDArray[np.bool_] | None = None,
    filter_name: str = "all rows",
    seed: int | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> PerturbationMap:
    """Turn the rows of a screen into a map: the front door.

    Rows become guides (mean), guides become perturbations (mean, or median over guides) where guides are
    declared, so that one guide with many cells cannot dominate; otherwise rows become perturbations.
    Controls leave the map unless the roles keep them. Rows with NaN or infinite values are left out and noted.
    Memory does not grow with the rows but for nine bytes each: where the table of units (perturbation × guide ×
    batch) would be large, the rows are read twice instead of once.

    Parameters
    ----------
    screen
        The rows.
    representation
        Name of one of its representations.
    alignment
        One of `explorer.align.METHODS`, fitted on the controls of each batch.
    aggregate
        ``"mean"`` or ``"median"``.
    rows, filter_name
        Rows to use, shape (n_rows,), and what to call that choice in the recipe.
    seed
        Recorded in the recipe when the choice of rows was random.
    engine
        Where the passes run; in this process without it (`explorer.cluster` has another one).
    progress
        Called with a number of rows after each block that was read.

    Returns
    -------
    PerturbationMap
        Perturbations sorted by name.

    Raises
    ------
    InputError
        When a name is unknown, controls are missing, fewer than three perturbations are left, or the map has no
        room in memory.
    """
    choice = _Choice(alignment, checked_aggregate(aggregate), filter_name, seed)
    check_method(alignment)
    engine = engine or LocalEngine()
    source = screen.representation(representation)
    labels = label_rows(screen, rows=rows, most_sampled=0)
    # Before the first of two passes: reading the rows may take an hour.
    require_totals_memory(labels, source.n_features)
    if keeps_units(labels, source.n_features, alignment):
        moments = engine.moments(source, labels, covariance=needs_covariance(alignment), progress=progress)
        require_rows(moments, source)
        return _made_of_moments(screen, source, moments, choice=choice)
    moments, fitted, totals = _aligned_while_reading(
        screen, source, labels, alignment=alignment, engine=engine, progress=progress
    )
    require_rows(moments, source)
    return _finished(screen, source, moments, choice=choice, fitted=fitted, totals=totals)


def keeps_units(labels: RowLabels, n_features: int, alignment: str) -> bool:
    """Whether the table of units is small enough to be kept, so that the rows are read once."""
    most = MOST_ROTATED_UNIT_BYTES if needs_covariance(alignment) else MOST_UNIT_BYTES
    return 8 * labels.n_units * n_features <= most


def map_from_moments(
    screen: Screen,
    representation: Representation,
    moments: ScreenMoments,
    *,
    alignment: str = "none",
    aggregate: Aggregate = "mean",
    filter_name: str = "all rows",
    seed: int | None = None,
) -> PerturbationMap:
    """Make a map of moments already collected: another alignment never reads the rows again.

    Only a median over rows (no guide declared) reads them, and a robust alignment reads the controls where the
    moments were collected without medians.
    """
    return _made_of_moments(
        screen, representation, moments, choice=_Choice(alignment, checked_aggregate(aggregate), filter_name, seed)
    )


def aggregate_rows(
    representation: Representation, moments: ScreenMoments, alignment: Alignment
) -> tuple[tuple[str, ...], Floats]:
    """Take the median of the aligned rows of each perturbation; this reads the rows once more.

    Returns
    -------
    tuple
        Names, sorted, and medians, shape (n_perturbations, n_features).
    """
    labels = moments.labels
    group = np.full(len(labels.unit), -1, dtype=np.int32)
    present = labels.unit >= 0
    present[moments.excluded] = False
    group[present] = labels.unit_perturbation[labels.unit[present]]

    def aligned() -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]:
        for start, values in representation.chunks():
            kept = np.flatnonzero(present[start : start + len(values)])
            rows = start + kept
            yield group[rows], alignment.apply(values[kept], labels.batch[rows]).astype(np.float32)

    numbers, medians = group_medians(
        aligned(), np.bincount(group[present], minlength=len(labels.perturbations)), n_features=moments.n_features
    )
    return tuple(labels.perturbations[number] for number in numbers.tolist()), medians


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the user chose of a recipe."""

    alignment: str
    aggregate: Aggregate
    filter_name: str
    seed: int | None


def checked_aggregate(aggregate: str) -> Aggregate:
    """Check the name of an aggregate.

    Raises
    ------
    InputError
        When there is none of that name; the nearest is given.
    """
    for known in AGGREGATES:
        if aggregate == known:
            return known
    msg = "aggregate"
    raise unknown_name(msg, aggregate, AGGREGATES)


def _made_of_moments(
    screen: Screen, representation: Representation, moments: ScreenMoments, *, choice: _Choice
) -> PerturbationMap:
    moments = moments_for(choice.alignment, screen, representation, moments=moments)
    fitted = fit_alignment(moments, choice.alignment)
    totals = unit_totals(moments, fitted)
    return _finished(screen, representation, moments, choice=choice, fitted=fitted, totals=totals)


def _aligned_while_reading(
    screen: Screen,
    representation: Representation,
    labels: RowLabels,
    *,
    alignment: str,
    engine: Engine,
    progress: Progress | None,
) -> tuple[ScreenMoments, Alignment, GuideTotals]:
    """Fit on the controls in a first pass, align and add up block by block in a second: no table of units is kept."""
    covariance = needs_covariance(alignment)
    found = engine.moments(representation, labels.only_controls(), covariance=covariance, progress=progress)
    # Which batches need controls is known from the labels.
    found = replace(found, labels=labels, unit=np.flatnonzero(_count_units(labels)))
    found = moments_for(alignment, screen, representation, moments=found)
    fitted = fit_alignment(found, alignment)
    totals = engine.totals(representation, labels, fitted, progress=progress)
    unit = np.flatnonzero(totals.unit_count)
    excluded = np.union1d(found.excluded, totals.excluded)
    return replace(found, unit=unit, unit_count=totals.unit_count[unit], excluded=excluded), fitted, totals


def _count_units(labels: RowLabels) -> npt.NDArray[np.intp]:
    return np.bincount(labels.unit[labels.unit >= 0], minlength=labels.n_units)


def _finished(
    screen: Screen,
    representation: Representation,
    moments: ScreenMoments,
    *,
    choice: _Choice,
    fitted: Alignment,
    totals: GuideTotals,
) -> PerturbationMap:
    profiles: npt.NDArray[np.floating]
    if choice.aggregate == "median" and screen.roles.guide is None:
        names, profiles = aggregate_rows(representation, moments, fitted)
    else:
        names, profiles = _perturbations(totals, choice.aggregate)
    excluded = describe_excluded(moments.excluded, screen)
    recipe = Recipe(
        dataset=screen.dataset,
        context=screen.context.name,
        representation=representation.name,
        kind=representation.kind,
        source=representation.source.fingerprint(),
        rows=_digest_labels(moments.labels),
        filter=choice.filter_name,
        alignment=choice.alignment,
        aggregate=choice.aggregate,
        seed=choice.seed,
        notes=tuple(note for note in (excluded, *fitted.notes) if note),
    )
    table = _counts(moments, declared=screen.roles.guide is not None)
    return PerturbationMap(names, profiles.astype(np.float32, copy=False), table, recipe)


def _perturbations(totals: GuideTotals, aggregate: Aggregate) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Guides to perturbations, equally weighted; names sorted."""
    filled = np.flatnonzero(totals.count)
    owner = totals.labels.guide_perturbation[filled]
    run = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    bounds = np.r_[run, len(filled)]
    names = tuple(totals.labels.perturbations[number] for number in owner[run].tolist())
    profiles = np.empty((len(run), totals.total.shape[1]), dtype=np.float32)
    # Some at a time, so that no further table of float64 stands beside the totals.
    step = max(1, _BLOCK_BYTES * len(run) // (8 * max(1, len(filled)) * max(1, profiles.shape[1])))
    for first in range(0, len(run), step):
        last = min(first + step, len(run))
        guides = totals.means_of(filled[bounds[first] : bounds[last]])
        own = run[first:last] - run[first]
        if aggregate == "median":
            profiles[first:last] = [np.median(part, axis=0) for part in np.split(guides, own[1:])]
        else:
            profiles[first:last] = sum_runs(guides, own) / np.diff(bounds[first : last + 1])[:, None]
    return names, profiles


def _counts(moments: ScreenMoments, *, declared: bool) -> pl.DataFrame:
    """Count rows, guides and batches of every perturbation; guides are null where none is declared."""
    labels, unit = moments.labels, moments.unit
    guide, owner = labels.unit_guide[unit], labels.unit_perturbation[unit]
    n = len(labels.perturbations)
    rows = np.bincount(owner, weights=moments.unit_count, minlength=n).astype(np.int64)
    guides = np.bincount(labels.guide_perturbation[np.unique(guide)], minlength=n)
    pair = np.unique(owner.astype(np.int64) * len(labels.batches) + labels.unit_batch[unit])
    batches = np.bincount(pair // len(labels.batches), minlength=n)
    met = np.flatnonzero(rows)
    return pl.DataFrame(
        {
            "perturbation": pl.Series([labels.perturbations[number] for number in met.tolist()], dtype=pl.String),
            "n_rows": rows[met],
            "n_guides": pl.Series(guides[met] if declared else [None] * len(met), dtype=pl.UInt32),
            "n_batches": pl.Series(batches[met], dtype=pl.UInt32),
        }
    )


def _digest_labels(labels: RowLabels) -> str:
    """Digest the names of all units and which row belongs to which, a stretch at a time."""
    digest = hashlib.sha256()
    names: tuple[tuple[tuple[str | None, ...], npt.NDArray[np.int32]], ...] = (
        (labels.perturbations, labels.unit_perturbation),
        (labels.guides, labels.unit_guide),
        (labels.batches, labels.unit_batch),
    )
    for of, codes in names:
        text = [str(name) for name in of]
        for start in range(0, len(codes), _DIGEST_ROWS):
            joined = "\x1f".join(text[code] for code in codes[start : start + _DIGEST_ROWS].tolist())
            digest.update((f"\x1f{joined}" if start else joined).encode())
    for array in (labels.unit, labels.batch, labels.control):
        for start in range(0, len(array), _DIGEST_ROWS):
            digest.update(np.ascontiguousarray(array[start : start + _DIGEST_ROWS], dtype="<i8").data)
    return digest.hexdigest()
