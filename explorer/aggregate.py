"""Rows to maps: one profile a perturbation, with the recipe that made it."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.align import Alignment, fit_alignment
from explorer.errors import InputError, listed, unknown_name
from explorer.moments import Floats, RowLabels, ScreenMoments, collect_moments, describe_excluded
from explorer.screen import Kind, Representation, Screen

if TYPE_CHECKING:
    from anndata import AnnData

Aggregate = Literal["mean", "median"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
FEWEST_PERTURBATIONS = 3


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

    def position(self, name: str) -> int:
        """Row of a perturbation.

        Raises
        ------
        InputError
            When it is not in the map; the message names the nearest.
        """
        row = bisect_left(self.names, name)
        if row == len(self.names) or self.names[row] != name:
            msg = "perturbation"
            raise unknown_name(msg, name, self.names)
        return row

    def restricted_to(self, names: Iterable[str]) -> PerturbationMap:
        """Take some perturbations; they stay sorted."""
        wanted = sorted(set(names))
        if wanted == list(self.names):
            return self
        rows = [self.position(name) for name in wanted]
        return PerturbationMap(tuple(wanted), self.profiles[rows], self.table[rows], self.recipe)

    def to_anndata(self) -> AnnData:
        """Convert to AnnData: ``X`` profiles, ``obs`` the table, ``uns["explorer"]`` recipe and fingerprint."""
        import anndata
        import pandas as pd

        columns = {name: self.table[name].to_list() for name in self.table.columns if name != "perturbation"}
        frame = pd.DataFrame(columns, index=pd.Index(list(self.names), dtype=object, name="perturbation"))
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
) -> PerturbationMap:
    """Turn the rows of a screen into a map: the front door.

    Rows become guides (mean), guides become perturbations (mean, or median over guides) where guides are
    declared, so that one guide with many cells cannot dominate; otherwise rows become perturbations.
    Controls leave the map unless the roles keep them. Rows with NaN or infinite values are left out and noted.

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

    Returns
    -------
    PerturbationMap
        Perturbations sorted by name.

    Raises
    ------
    InputError
        When a name is unknown, controls are missing, or fewer than three perturbations are left.
    """
    if aggregate not in AGGREGATES:
        msg = "aggregate"
        raise unknown_name(msg, aggregate, AGGREGATES)
    source = screen.representation(representation)
    moments = collect_moments(screen, source, rows=rows)
    return map_from_moments(
        screen,
        source,
        moments,
        alignment=alignment,
        aggregate="median" if aggregate == "median" else "mean",
        filter_name=filter_name,
        seed=seed,
    )


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

    Only a median over rows (no guide declared) reads them.
    """
    fitted = fit_alignment(moments, alignment)
    if aggregate == "median" and screen.roles.guide is None:
        names, profiles = aggregate_rows(representation, moments, fitted)
    else:
        names, profiles = _from_units(moments, fitted, aggregate)
    excluded = describe_excluded(moments, screen.perturbation_labels())
    recipe = Recipe(
        dataset=screen.dataset,
        context=screen.context.name,
        representation=representation.name,
        kind=representation.kind,
        source=representation.source.fingerprint(),
        rows=_digest_labels(moments.labels),
        filter=filter_name,
        alignment=alignment,
        aggregate=aggregate,
        seed=seed,
        notes=tuple(note for note in (excluded, *fitted.notes) if note),
    )
    return PerturbationMap(names, profiles.astype(np.float32), _counts(moments, screen.roles.guide), recipe)


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
    perturbations = labels.units["perturbation"].to_list()
    present = labels.unit >= 0
    present[moments.excluded] = False
    aligned = np.empty((int(present.sum()), moments.n_features), dtype=np.float32)
    filled = 0
    for start, values in representation.chunks():
        kept = present[start : start + len(values)]
        batch = labels.batch[start : start + len(values)][kept]
        aligned[filled : filled + len(batch)] = alignment.apply(values[kept], batch)
        filled += len(batch)
    names = sorted(set(perturbations))
    number = {name: place for place, name in enumerate(names)}
    group = np.array([number[name] for name in perturbations])[labels.unit[present]]
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(names) + 1))
    kept_names = [place for place in range(len(names)) if bounds[place] < bounds[place + 1]]
    medians: Floats = np.stack(
        [np.median(aligned[order[bounds[place] : bounds[place + 1]]], axis=0) for place in kept_names]
    ).astype(np.float64)
    return tuple(names[place] for place in kept_names), medians


def replicate_halves(
    screen: Screen, representation: str, *, alignment: str = "none", seed: int = 0
) -> tuple[PerturbationMap, PerturbationMap] | None:
    """Make two maps of disjoint halves of every perturbation's replicates: the yardstick of any agreement.

    Halved at random are the guides where they are declared; else the batches, where perturbations stand in
    several, since rows of one plate agree on the plate too; else the rows. Each half has half of the data, so
    the agreement of the whole with its own repeat would be higher.

    Returns
    -------
    tuple or None
        The two maps, or None where perturbations have no replicates (a median of one guide or row).
    """
    labels = pl.Series(screen.perturbation_labels())
    unit, kind = _replicate_unit(screen, labels)
    frame = pl.DataFrame({"perturbation": labels, "replicate": unit})
    replicates = frame.select("perturbation", "replicate").unique().sort("perturbation", "replicate")
    per_perturbation = replicates["perturbation"].value_counts()["count"]
    if not len(per_perturbation) or float(np.median(per_perturbation.to_numpy())) < 2:
        return None
    shuffled = replicates.with_columns(pl.Series("order", np.random.default_rng(seed).random(replicates.height)))
    halves = shuffled.with_columns((pl.col("order").rank("ordinal").over("perturbation") % 2).alias("half"))
    # Rows whose guide is not stated count as one guide here too.
    joined = frame.join(halves, on=["perturbation", "replicate"], how="left", nulls_equal=True, maintain_order="left")
    half = joined["half"].to_numpy()
    one, other = (
        build_map(
            screen,
            representation,
            alignment=alignment,
            rows=(half == number) | screen.is_control() & ~np.bool_(screen.roles.keep_controls),
            filter_name=f"half {number + 1} of 2 of the {kind}",
            seed=seed,
        )
        for number in (0, 1)
    )
    return one, other


def _replicate_unit(screen: Screen, labels: pl.Series) -> tuple[pl.Series, str]:
    """Choose what is halved, one name a row, and what to call it."""
    if screen.roles.guide:
        return screen.rows[screen.roles.guide].cast(pl.String), "guides"
    if screen.roles.batch:
        batch = screen.rows[screen.roles.batch].cast(pl.String)
        spread = pl.DataFrame({"perturbation": labels, "batch": batch}).group_by("perturbation").n_unique()
        if float(np.median(spread["batch"].to_numpy())) >= 2:
            return batch, "batches"
    return pl.Series(np.arange(len(labels))).cast(pl.String), "rows"


def _from_units(moments: ScreenMoments, alignment: Alignment, aggregate: Aggregate) -> tuple[tuple[str, ...], Floats]:
    """Units (perturbation × guide × batch) to guides, weighted by rows; guides to perturbations, equally."""
    filled = np.flatnonzero(moments.unit_count)
    units = moments.labels.units[filled]
    number = {name: place for place, name in enumerate(moments.labels.batches)}
    batch = np.array([number[name] for name in units["batch"].to_list()], dtype=np.int64)
    aligned = alignment.apply(moments.unit_mean[filled], batch)
    # Units are sorted by perturbation, guide and batch, so each guide is one run of lines.
    guide_run = _runs(units.select("perturbation", "guide"))
    count = moments.unit_count[filled].astype(np.float64)
    weight = np.add.reduceat(count, guide_run)
    guides = np.add.reduceat(aligned * count[:, None], guide_run, axis=0) / weight[:, None]
    owners = units["perturbation"].to_numpy()[guide_run]
    perturbation_run = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    names = tuple(str(name) for name in owners[perturbation_run])
    if aggregate == "median":
        return names, np.stack([np.median(part, axis=0) for part in np.split(guides, perturbation_run[1:])])
    n_guides = np.diff(np.r_[perturbation_run, len(guides)])
    return names, np.add.reduceat(guides, perturbation_run, axis=0) / n_guides[:, None]


def _runs(table: pl.DataFrame) -> npt.NDArray[np.intp]:
    """First line of each run of equal lines."""
    number = table.with_columns(pl.struct(table.columns).rle_id().alias("run"))["run"].to_numpy()
    return np.flatnonzero(np.r_[True, number[1:] != number[:-1]])


def _counts(moments: ScreenMoments, guide: str | None) -> pl.DataFrame:
    filled = moments.labels.units.with_columns(pl.Series("n_rows", moments.unit_count)).filter(pl.col("n_rows") > 0)
    n_guides = pl.col("guide").n_unique() if guide else pl.lit(None, dtype=pl.UInt32)
    return (
        filled.group_by("perturbation")
        .agg(pl.col("n_rows").sum(), n_guides.alias("n_guides"), pl.col("batch").n_unique().alias("n_batches"))
        .sort("perturbation")
    )


def _digest_labels(labels: RowLabels) -> str:
    digest = hashlib.sha256()
    for column in labels.units.columns:
        digest.update("\x1f".join(str(value) for value in labels.units[column].to_list()).encode())
    for array in (labels.unit, labels.batch, labels.control.astype(np.int64)):
        digest.update(np.ascontiguousarray(array, dtype="<i8").data)
    return digest.hexdigest()
