"""What a screen is: rows with roles, in one context, and named representations of those rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.digits import counted
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.numbering import number_names
from explorer.sources import ArraySource

if TYPE_CHECKING:
    from anndata import AnnData

Kind = Literal["simple", "learned", "placebo"]
KINDS: tuple[Kind, ...] = ("simple", "learned", "placebo")

# What names nothing: a label is text, a category, a number, a truth value or a date.
_NO_LABELS = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Object, pl.Duration)

# Large enough that starting a block costs nothing beside reading it, small enough to stay near the processor's cache
# and below the size from which every new block would be paid for page by page.
BYTES_PER_CHUNK = 4 * 2**20


class RowSource(Protocol):
    """A matrix of rows that can be read by ranges of rows, wherever it is kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense, shape (stop - start, n_features)."""

    def fingerprint(self) -> str:
        """Digest of the content; equal content gives equal digests on every machine."""


class RowTable(Protocol):
    """A table of one line a row whose columns may still be in a file; a polars data frame is one."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Type of each column."""

    @property
    def height(self) -> int:
        """Number of rows."""

    def __getitem__(self, name: str, /) -> pl.Series:
        """Read one column."""


@runtime_checkable
class BlockSource(Protocol):
    """A source that reads many ranges in order better than one at a time: it opens its file once."""

    def blocks(self, start: int, stop: int, step: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Read rows `start` to `stop`, `step` at a time; yields the first row's number and the rows."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of the rows play which part.

    Attributes
    ----------
    perturbation
        Column of perturbation labels.
    control
        Labels that mark controls; empty where there are none, or where `control_column` says it.
    control_column
        Boolean column that marks controls.
    keep_controls
        Whether controls are perturbations too and stay in the map (nonessential genes).
    batch, guide
        Columns of the batch and of the guide, where the screen has them.
    group
        Columns that could confound: chromosome arm, plate position …
    replicates
        Whether rows that share a perturbation are replicates although no batch or guide is declared.
    """

    perturbation: str
    control: tuple[str, ...] = ()
    control_column: str | None = None
    keep_controls: bool = False
    batch: str | None = None
    guide: str | None = None
    group: tuple[str, ...] = ()
    replicates: bool = False

    def named(self) -> list[tuple[str, str]]:
        """Pair every role that has a column with that column."""
        single = {
            "perturbation": self.perturbation,
            "control": self.control_column,
            "batch": self.batch,
            "guide": self.guide,
        }
        roles = [(role, column) for role, column in single.items() if column is not None]
        return roles + [("group", column) for column in self.group]


def check_roles(roles: Roles, columns: Sequence[str]) -> None:
    """Check that every column that a role names is there.

    Raises
    ------
    InputError
        When one is not; the message names the nearest.
    """
    for role, column in roles.named():
        if column not in columns:
            msg = f"{role} column"
            raise unknown_name(msg, column, columns)


def holds_labels(column: str, kind: Any) -> bool:
    """Whether a column of a type can hold labels: text, numbers, truth values, dates; not lists or bytes.

    Not where its name is a pattern to polars, ``^…$``, which then finds other columns or none by it.
    """
    return not isinstance(kind, _NO_LABELS) and not (column.startswith("^") and column.endswith("$"))


def check_labels(role: str, column: str, kind: Any) -> None:
    """Check that a column that a role names holds something that can be a label.

    Raises
    ------
    InputError
        When it holds lists, structures, bytes or durations, or its name can't be used.
    """
    if isinstance(kind, _NO_LABELS):
        held = kind.base_type().__name__
        message = f"{role} column {shown(column)} holds {held}, expected text or numbers: write it as text"
        raise InputError(message)
    if not holds_labels(column, kind):
        message = (
            f"{role} column {shown(column)} can't be used: rename it, so that it does not begin with ^ and end with $"
        )
        raise InputError(message)


@dataclass(frozen=True, slots=True)
class Context:
    """The conditions that every finding is conditioned on; `study` where one data set holds several."""

    name: str
    cell_system: str = "not stated"
    perturbation_type: str = "not stated"
    technique: str = "not stated"
    outcome: str = "not stated"
    time: str = "not stated"
    study: str = "not stated"

    @property
    def sentence(self) -> str:
        """All that was stated, in one line."""
        parts = (self.cell_system, self.perturbation_type, self.technique, self.outcome, self.time, self.study)
        return " · ".join(part for part in parts if part != "not stated") or "conditions not stated"


@dataclass(frozen=True, slots=True, eq=False)
class Representation:
    """One feature matrix over the rows of a screen.

    Attributes
    ----------
    name, kind
        Its name, and whether it is simple, learned or a placebo.
    source
        Where the rows are read from, shape (n_rows, n_features).
    origin
        The file, or the key inside it, in words.
    description, trained
        What it is; for a learned one what it saw and how its settings were chosen.
    seed_of
        Name of the representation that differs from this one in the random seed alone.
    """

    name: str
    kind: Kind
    source: RowSource
    origin: str = "memory"
    description: str = ""
    trained: str = ""
    seed_of: str | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.source.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.source.shape[1]

    def chunks(
        self, n_rows: int | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Read the rows in order, a block at a time: the only way to the rows.

        Parameters
        ----------
        n_rows
            Rows in a block; by default as many as fit in 8 MiB.
        start, stop
            First row, and the row before which to end; all rows without them.

        Yields
        ------
        tuple
            Index of the block's first row, and the block, float32, shape (≤ n_rows, n_features).
        """
        end = self.n_rows if stop is None else min(stop, self.n_rows)
        step = n_rows or max(1, BYTES_PER_CHUNK // (4 * max(1, self.n_features)))
        if isinstance(self.source, BlockSource):
            yield from self.source.blocks(start, end, step)
            return
        for first in range(start, end, step):
            yield first, self.source.read(first, min(first + step, end))


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """Rows of one context, with roles, and named representations of those rows.

    Attributes
    ----------
    dataset
        Name of the data set.
    context
        The conditions.
    rows
        One line a row, with the columns that the roles name.
    roles
        Which column plays which part.
    representations
        By name, in the card's order.

    Raises
    ------
    InputError
        When a role names an absent column, a representation has other rows, or perturbations have no name.
    """

    dataset: str
    context: Context
    rows: pl.DataFrame
    roles: Roles
    representations: Mapping[str, Representation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_roles(self.roles, self.rows.columns)
        for role, column in self.roles.named():
            check_labels(role, column, self.rows.schema[column])
        for representation in self.representations.values():
            if representation.n_rows != self.rows.height:
                message = (
                    f"representation {representation.name!r} has {representation.n_rows:,} rows, "
                    f"the screen {self.context.name!r} has {self.rows.height:,}: give one row for each, "
                    "in the same order or with names"
                )
                raise InputError(message)
            if not representation.n_features:
                message = f"representation {representation.name!r} has no features: give it columns of numbers"
                raise InputError(message)
        self._check_controls()
        self._check_perturbations()

    def _check_perturbations(self) -> None:
        # Under a name of our own: polars takes some names of columns for patterns.
        labels = self.rows[self.roles.perturbation].alias("perturbation")
        names = labels.value_counts(name="count")
        is_blank = pl.col("perturbation").cast(pl.String).str.strip_chars().fill_null("") == ""
        blank = int(names.filter(is_blank)["count"].sum())
        if blank:
            message = (
                f"{counted(blank, 'row has', 'rows have')} no perturbation in column {self.roles.perturbation!r}: "
                "name them, leave those rows out, or name another column with --perturbation"
            )
            raise InputError(message)
        if self.roles.batch or self.roles.guide or self.roles.replicates or not len(labels):
            return
        # Controls that leave the map are never averaged, so they may share a name.
        named = labels.cast(pl.String)
        counts = (named if self.roles.keep_controls else named.filter(~self.is_control())).value_counts(sort=True)
        repeated = counts.filter(pl.col("count") > 1)
        # One row each is the rule here, so a repeated name is a slip and must not be averaged silently.
        if 0 < repeated.height <= counts.height / 2:
            message = (
                f"duplicate perturbation names: {listed(repeated['perturbation'].sort())} "
                "stand in several rows while most stand in one: make the names unique, or say "
                "`replicates = true` (or name a guide or batch column) under [roles]"
            )
            raise InputError(message)

    def _check_controls(self) -> None:
        roles = self.roles
        if roles.control_column is not None:
            flags = self.rows[roles.control_column]
            if flags.dtype != pl.Boolean:
                message = (
                    f"control column {roles.control_column!r} holds {flags.dtype.base_type().__name__}, expected true "
                    "and false: name a column of booleans, or give the label of the controls instead"
                )
                raise InputError(message)
        present = set(self.rows[roles.perturbation].unique().cast(pl.String).to_list()) if roles.control else set()
        for label in roles.control:
            if label not in present:
                msg = "control label"
                raise unknown_name(msg, label, sorted(present))

    def perturbation_labels(self) -> list[str]:
        """Perturbation of every row."""
        return self.rows[self.roles.perturbation].cast(pl.String).to_list()

    def is_control(self) -> npt.NDArray[np.bool_]:
        """Whether each row is a control, shape (n_rows,)."""
        if self.roles.control_column is not None:
            return self.rows[self.roles.control_column].fill_null(value=False).to_numpy().astype(bool)
        if not self.roles.control:
            return np.zeros(self.rows.height, dtype=bool)
        numbers, names = number_names(self.rows[self.roles.perturbation])
        return np.array([name in self.roles.control for name in names], dtype=bool)[numbers]

    def representation(self, name: str) -> Representation:
        """Look a representation up by name.

        Raises
        ------
        InputError
            When there is none of that name; the message names the nearest.
        """
        try:
            return self.representations[name]
        except KeyError:
            msg = "representation"
            raise unknown_name(msg, name, self.representations) from None

    @classmethod
    def from_anndata(cls, adata: AnnData, *, perturbation: str, **roles: Any) -> Self:
        """Make a screen of an AnnData in memory: ``X``, every layer and every ``obsm`` entry.

        Parameters
        ----------
        adata
            Rows are cells, wells, guides or perturbations.
        perturbation
            Column of ``obs`` with the perturbation.
        **roles
            The other fields of `Roles`.

        Returns
        -------
        Screen
            With the representations ``X``, ``layers/KEY`` and ``obsm/KEY``, all of kind *simple*
            but for ``obsm`` keys, which are taken as *learned* unless they are ``X_pca``.
        """
        from explorer.sources import as_source  # kept here: it needs scipy only for sparse input

        table = pl.DataFrame({str(name): _polars_column(adata.obs[name]) for name in adata.obs.columns})
        matrices: dict[str, tuple[Kind, Any]] = {}
        if adata.X is not None:
            matrices["X"] = ("simple", adata.X)
        matrices |= {f"layers/{key}": ("simple", value) for key, value in adata.layers.items() if key is not None}
        for key, value in adata.obsm.items():
            matrices[f"obsm/{key}"] = ("simple" if key == "X_pca" else "learned", value)
        representations = {
            name: Representation(name=name, kind=kind, source=as_source(value), origin=name)
            for name, (kind, value) in matrices.items()
        }
        return cls(
            dataset="AnnData in memory",
            context=Context("all"),
            rows=table,
            roles=Roles(perturbation=perturbation, **roles),
            representations=representations,
        )

    @classmethod
    def from_arrays(cls, perturbations: list[str], representations: Mapping[str, npt.ArrayLike], **roles: Any) -> Self:
        """Make a screen of arrays in memory, all of kind *simple*; for tests and small studies.

        Parameters
        ----------
        perturbations
            Perturbation of every row.
        representations
            Arrays of shape (n_rows, n_features) by name.
        **roles
            Other fields of `Roles`; `batch` and `guide` take the labels themselves, one a row.
        """
        columns: dict[str, Any] = {"perturbation": perturbations}
        for role in ("batch", "guide"):
            if roles.get(role) is not None:
                columns[role] = roles[role]
                roles[role] = role
        return cls(
            dataset="arrays in memory",
            context=Context("all"),
            rows=pl.DataFrame(columns),
            roles=Roles(perturbation="perturbation", **roles),
            representations={
                name: Representation(name, "simple", ArraySource(np.asarray(values)))
                for name, values in representations.items()
            },
        )


def _polars_column(values: Any) -> pl.Series:
    """Convert a pandas column: numbers and truth values stay, all else becomes text, what is missing stays missing."""
    numeric = values.dtype.kind in "biuf"
    missing = values.isna().tolist()
    items = [
        None if blank else item if numeric else str(item) for item, blank in zip(values.tolist(), missing, strict=True)
    ]
    return pl.Series(items) if numeric else pl.Series(items, dtype=pl.String)
