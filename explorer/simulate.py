"""Screens with known truth: counts of simulated cells, and who was planted to act like whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, listed, unknown_name
from explorer.expression import LogNormalizedSource
from explorer.screen import Context, Representation, Roles, Screen
from explorer.sources import as_source

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CONTROL = "non-targeting"
# Independent streams of random numbers, so that one more batch or cell leaves the truth as it is.
_TRUTH, _CONTEXT, _CELLS, _HUBS, _PLACES = range(5)
_ROWS_AT_ONCE = 1024

Floats = npt.NDArray[np.float64]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScreenDesign:
    """What is planted in a simulated screen, and how it is measured.

    Effects are changes of the natural logarithm of expression. The defaults are those of
    ``demo_data/perturbseq``.

    Attributes
    ----------
    perturbations, guides, control_guides
        Number of perturbations, of guides for each, and of non-targeting guides.
    batches, cells
        Number of batches, each of which holds every guide, and mean number of cells of a guide in a batch
        (one at least; the rest is Poisson).
    genes
        Number of genes counted.
    modules, members, super_modules
        Number of modules, of perturbations in each, and of super-modules that the modules are spread over.
    hierarchy
        Share of the variance of a module's effect that its super-module has in common, 0 to 1.
    strength, program
        Standard deviation of a module's effect over the genes it acts on, and their share of all genes.
    stress_only
        Number of perturbations that act on the shared stress axis and on nothing else.
    stress, stress_share, stress_program
        Standard deviation of the stress effect over its genes at a load of 1, the share of module members
        that carry it too, and the share of genes it acts on.
    context_modules
        Number of modules that act in one context only; the contexts take them in turn, from the second on.
    hubs, hub, hub_spread
        Number of perturbations, of those that do nothing else, that are near many others, the same in all contexts;
        how many times as strong as a module of strength 1 each is along a program that the cells of all others vary
        along, too, and standard deviation of the others along it. The program, and who leans towards it, are other
        ones in every context, so that a hub's nearness is no news of anyone.
    positions, position_sd
        Number of places on the plates, 0 where none is declared, and standard deviation of what a place adds to a
        gene's log expression in a context. A perturbation lies at the same place in all contexts; controls lie
        everywhere.
    context_sd
        Standard deviation, between contexts, of a gene's log expression.
    batch_sd
        Standard deviation, between the batches of a context, of a gene's log expression.
    depth, depth_sd
        Median of the expected counts of a cell, and standard deviation of their logarithm.
    theta
        Dispersion of the negative binomial: variance = mean + mean² / theta.
    escape
        Share of cells in which the guide did not work.
    contexts
        Names of the contexts; they share perturbations, genes, modules and effects.
    seed
        Of the truth: who is in which module, and what it does.

    Raises
    ------
    InputError
        When the design is impossible.
    """

    perturbations: int = 120
    guides: int = 2
    control_guides: int = 16
    batches: int = 3
    cells: float = 5.0
    genes: int = 1000
    modules: int = 24
    members: int = 4
    super_modules: int = 6
    hierarchy: float = 0.3
    strength: float = 0.8
    program: float = 0.085
    stress_only: int = 8
    stress: float = 0.4
    stress_share: float = 0.5
    stress_program: float = 0.2
    context_modules: int = 1
    hubs: int = 0
    hub: float = 1.5
    hub_spread: float = 0.3
    positions: int = 0
    position_sd: float = 0.1
    context_sd: float = 0.5
    batch_sd: float = 0.5
    depth: float = 500.0
    depth_sd: float = 0.3
    theta: float = 4.0
    escape: float = 0.35
    contexts: tuple[str, ...] = ("line_A", "line_B", "line_C")
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "perturbations": 3, "guides": 1, "control_guides": 0, "batches": 1, "cells": 1, "genes": 2, "modules": 0,
            "members": 2, "super_modules": 0, "stress_only": 0, "context_modules": 0, "hubs": 0, "positions": 0,
            "seed": 0,
        }  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                msg = f"{name} is {getattr(self, name)}, expected {bound} or more"
                raise InputError(msg)
        for name in ("hierarchy", "program", "stress_share", "stress_program", "escape"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}, expected a share from 0 to 1"
                raise InputError(msg)
        for name in ("strength", "stress", "hub", "hub_spread", "position_sd", "context_sd", "batch_sd", "depth_sd"):
            if not 0 <= getattr(self, name) < np.inf:
                msg = f"{name} is {getattr(self, name)}, expected a finite number, 0 or more"
                raise InputError(msg)
        for name in ("depth", "theta"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name} is {getattr(self, name)}, expected a finite number above 0"
                raise InputError(msg)
        if not self.contexts or len(set(self.contexts)) != len(self.contexts):
            msg = f"contexts are {listed(self.contexts) or 'empty'}: give at least one, each once"
            raise InputError(msg)
        if self.inactive < 0:
            hubs = f" and {self.hubs} hubs" if self.hubs else ""
            message = (
                f"{self.modules} modules of {self.members} and {self.stress_only} on the stress axis alone{hubs} need "
                f"{self.perturbations - self.inactive} perturbations, the design has {self.perturbations}: "
                "plant less or raise `perturbations`"
            )
            raise InputError(message)
        if self.modules and not 1 <= self.super_modules <= self.modules:
            msg = f"super_modules is {self.super_modules}, expected 1 to {self.modules}, the number of modules"
            raise InputError(msg)
        if self.context_modules > self.modules:
            msg = f"context_modules is {self.context_modules}, expected at most {self.modules}, the number of modules"
            raise InputError(msg)

    @property
    def inactive(self) -> int:
        """Number of perturbations that do nothing at all."""
        return self.perturbations - self.modules * self.members - self.stress_only - self.hubs

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the perturbations, sorted; they say nothing of the truth."""
        return _numbered("P", self.perturbations)

    def without_effects(self) -> Self:
        """Plan the same measurement of perturbations that all do nothing: the null of every score."""
        return replace(self, modules=0, super_modules=0, stress_only=0, context_modules=0, hubs=0)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScreen:
    """Counts of simulated cells of one context, and the truth they were drawn from.

    Attributes
    ----------
    design, context, seed
        What was asked for; the seed is that of the cells.
    counts
        Counts, shape (n_cells, n_genes), int32, sparse by rows.
    cells
        One line a cell: ``cell, perturbation, guide, batch, escaped`` (whether the guide did not work), and
        ``position`` where places on the plates are declared.
    genes
        Names of the genes.
    truth
        One line a perturbation, sorted: ``perturbation, super_module, module`` (null outside modules),
        ``only_in`` (the one context in which its module acts; null where all do), ``stress`` (load on the
        shared axis, 0 for none) and ``active`` (whether it does anything in this context but lean towards hubs).
    effects
        True change of log expression, shape (n_perturbations, n_genes), in the order of `truth`.
    batch_effects
        True shift of log expression of each batch, shape (n_batches, n_genes).
    position_effects
        The same of each place on the plates, shape (n_positions, n_genes).
    hubs
        Names of the hubs, sorted.
    """

    design: ScreenDesign
    context: str
    seed: int
    counts: csr_matrix = field(repr=False)
    cells: pl.DataFrame = field(repr=False)
    genes: tuple[str, ...] = field(repr=False)
    truth: pl.DataFrame = field(repr=False)
    effects: Floats = field(repr=False)
    batch_effects: Floats = field(repr=False)
    position_effects: Floats = field(repr=False)
    hubs: tuple[str, ...] = ()

    @property
    def true_pairs(self) -> Pairs:
        """Pairs of one module that acts in this context, each once and sorted: what a map should find."""
        return _pairs_within(self._acting_modules(), "module")

    @property
    def general_pairs(self) -> Pairs:
        """Pairs of one module that acts in every context, each once and sorted: what should hold elsewhere."""
        return _pairs_within(self.truth.filter(pl.col("only_in").is_null()), "module")

    @property
    def specific_pairs(self) -> Pairs:
        """Pairs of one module that acts in this context alone, each once and sorted: what should not."""
        return _pairs_within(self.truth.filter(pl.col("only_in") == self.context), "module")

    @property
    def position_pairs(self) -> Pairs:
        """Pairs that lie at one place and have neither module, super-module nor stress in common."""
        if not self.design.positions:
            return ()
        placed = self.cells.filter(pl.col("perturbation") != CONTROL).unique(["perturbation", "position"])
        related = {*self.true_pairs, *self.related_pairs, *self.stress_pairs}
        return tuple(pair for pair in _pairs_within(placed, "position") if pair not in related)

    @property
    def related_pairs(self) -> Pairs:
        """Pairs of one super-module but of two modules, all acting here: alike, but less."""
        within = _pairs_within(self._acting_modules(), "super_module")
        return tuple(sorted(set(within) - set(self.true_pairs)))

    @property
    def stress_pairs(self) -> Pairs:
        """Pairs that have the stress axis in common and neither module nor super-module: what misleads."""
        stressed = self.truth.filter(pl.col("stress") > 0).with_columns(pl.lit("stress").alias("axis"))
        related = {*self.true_pairs, *self.related_pairs}
        return tuple(pair for pair in _pairs_within(stressed, "axis") if pair not in related)

    @property
    def inactive(self) -> tuple[str, ...]:
        """Perturbations that do nothing in this context, sorted."""
        return tuple(self.truth.filter(~pl.col("active"))["perturbation"].to_list())

    def _acting_modules(self) -> pl.DataFrame:
        # A member of a silent module may still carry stress, so being active is not enough.
        return self.truth.filter(pl.col("only_in").fill_null(self.context) == self.context)

    def to_screen(self) -> Screen:
        """Make a screen of the cells: representations ``counts``, and ``pseudobulk`` (log-normalised counts)."""
        counts = as_source(self.counts)
        return Screen(
            dataset="simulated",
            context=Context(self.context),
            rows=self.cells,
            roles=Roles(
                perturbation="perturbation",
                control=(CONTROL,) if self.design.control_guides else (),
                batch="batch",
                guide="guide",
                group=("position",) if self.design.positions else (),
            ),
            representations={
                "counts": Representation("counts", "simple", counts),
                "pseudobulk": Representation("pseudobulk", "simple", LogNormalizedSource(counts)),
            },
        )


def simulate_screen(design: ScreenDesign, *, context: str | None = None, seed: int = 0) -> SimulatedScreen:
    """Simulate the cells of one context of a pooled screen read out by RNA counts.

    Cells of a perturbation shift the log expression of genes by its effect unless their guide did not work;
    batches and contexts shift it too; counts are negative binomial about the share of a gene times the
    depth of the cell.

    Parameters
    ----------
    design
        What is planted, and how it is measured.
    context
        One of the design's contexts; its first without a name.
    seed
        Of the cells and batches; the truth has its own, ``design.seed``.

    Returns
    -------
    SimulatedScreen
        Equal for equal arguments.

    Raises
    ------
    InputError
        When the context is not in the design, or the seed is negative.
    """
    name = design.contexts[0] if context is None else context
    if name not in design.contexts:
        msg = "context"
        raise unknown_name(msg, name, design.contexts)
    if seed < 0:
        msg = f"seed is {seed}, expected 0 or more"
        raise InputError(msg)
    number = design.contexts.index(name)
    members, effects = _plant(design)
    active = (pl.col("module").is_not_null() & pl.col("only_in").fill_null(name).eq(name)) | (pl.col("stress") > 0)
    truth = members.with_columns(active.alias("active"))
    module, load = effects
    hubs, leaning = _lean(design, truth, context=number)
    if hubs:
        truth = truth.with_columns(pl.col("active") | pl.col("perturbation").is_in(hubs))
    acts = truth.select(pl.col("only_in").fill_null(name).eq(name)).to_series().to_numpy()
    changes = module * acts[:, None] + load
    if hubs:
        changes = changes + leaning

    # A context keeps its own expression whatever seed its cells are drawn with.
    base = np.random.default_rng([design.seed, _TRUTH, 1]).standard_normal(design.genes)
    own = np.random.default_rng([design.seed, _CONTEXT, number]).standard_normal(design.genes)
    rng = np.random.default_rng([design.seed, _CELLS, number, seed])
    batch_effects = design.batch_sd * rng.standard_normal((design.batches, design.genes))
    cells, perturbation, batch = _draw_cells(design, rng)
    # Controls stand after all perturbations and do nothing.
    changes = np.vstack([changes, np.zeros(design.genes)])
    works = np.where(cells["escaped"].to_numpy(), design.perturbations, perturbation)
    baseline = base + design.context_sd * own
    # A shift of a place is one of a batch and a place, so that the cells are drawn as they are without places.
    places, position_effects = _place(design, cells, context=number)
    shifts, shift = batch_effects, batch
    if design.positions:
        cells = cells.with_columns(pl.Series("position", np.array(_numbered("place", design.positions))[places]))
        shifts = (batch_effects[:, None] + position_effects).reshape(-1, design.genes)
        shift = batch * design.positions + places
    counts = _draw_counts(design, rng, log_rates=(baseline, shifts, changes), rows=(shift, works))
    return SimulatedScreen(
        design=design,
        context=name,
        seed=seed,
        counts=counts,
        cells=cells,
        genes=_numbered("G", design.genes),
        truth=truth,
        effects=changes[:-1],
        batch_effects=batch_effects,
        position_effects=position_effects,
        hubs=hubs,
    )


def _plant(design: ScreenDesign) -> tuple[pl.DataFrame, tuple[Floats, Floats]]:
    """Give perturbations to modules, and effects to modules: the truth, and effects of module and stress apart."""
    rng = np.random.default_rng([design.seed, _TRUTH, 0])
    n = design.perturbations
    # Names are dealt at random, so that their order tells nothing.
    order = rng.permutation(n)
    in_modules = design.modules * design.members
    module = np.full(n, -1)
    module[order[:in_modules]] = np.repeat(np.arange(design.modules), design.members)
    load = np.zeros(n)
    stressed = order[:in_modules][rng.random(in_modules) < design.stress_share]
    load[stressed] = rng.uniform(0.5, 1.5, len(stressed))
    only = order[in_modules : in_modules + design.stress_only]
    load[only] = rng.uniform(0.5, 1.5, len(only))
    potency = rng.uniform(0.7, 1.3, n)

    super_of = np.arange(design.modules) * design.super_modules // max(design.modules, 1)
    common = _programs(rng, design.super_modules, genes=design.genes, share=design.program)
    private = _programs(rng, design.modules, genes=design.genes, share=design.program)
    axis = _programs(rng, 1, genes=design.genes, share=design.stress_program)[0]
    programs = np.sqrt(design.hierarchy) * common[super_of] + np.sqrt(1 - design.hierarchy) * private
    effects = np.zeros((n, design.genes))
    member = module >= 0
    effects[member] = design.strength * potency[member, None] * programs[module[member]]

    module_names = _numbered("module ", design.modules)
    super_names = _numbered("super-module ", design.super_modules)
    # The last modules act in one context only; the contexts take them in turn, from the second on.
    local = {
        design.modules - 1 - i: design.contexts[(i + 1) % len(design.contexts)] for i in range(design.context_modules)
    }
    truth = pl.DataFrame(
        {
            "perturbation": design.names,
            "super_module": [super_names[super_of[m]] if m >= 0 else None for m in module.tolist()],
            "module": [module_names[m] if m >= 0 else None for m in module.tolist()],
            "only_in": [local.get(m) for m in module.tolist()],
            "stress": load,
        },
        schema_overrides={"super_module": pl.String, "module": pl.String, "only_in": pl.String},
    )
    return truth, (effects, design.stress * load[:, None] * axis)


def _lean(design: ScreenDesign, truth: pl.DataFrame, *, context: int) -> tuple[tuple[str, ...], Floats]:
    """Choose the hubs, and the changes of log expression of all along the hubs' program of a context."""
    if not design.hubs:
        return (), np.zeros((design.perturbations, 1))
    idle = truth.filter(pl.col("module").is_null() & (pl.col("stress") == 0))["perturbation"].to_list()
    chosen = np.random.default_rng([design.seed, _HUBS]).choice(len(idle), size=design.hubs, replace=False)
    hubs = tuple(sorted(idle[place] for place in chosen.tolist()))
    rng = np.random.default_rng([design.seed, _HUBS, 1 + context])
    program = _programs(rng, 1, genes=design.genes, share=design.program)[0]
    along = design.hub_spread * rng.standard_normal(design.perturbations)
    along[np.isin(design.names, hubs)] = design.hub
    return hubs, along[:, None] * program


def _place(design: ScreenDesign, cells: pl.DataFrame, *, context: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Say where each cell lies by number, and what each place adds to log expression in a context."""
    if not design.positions:
        return np.zeros(cells.height, dtype=np.int64), np.zeros((0, design.genes))
    dealt = np.random.default_rng([design.seed, _PLACES]).permutation(np.arange(design.perturbations))
    of = dict(zip(design.names, (dealt % design.positions).tolist(), strict=True))
    rng = np.random.default_rng([design.seed, _PLACES, 1 + context])
    adds = design.position_sd * rng.standard_normal((design.positions, design.genes))
    # Guides of controls take the places in turn.
    guides = cells["guide"].to_list()
    controls = {guide: number for number, guide in enumerate(sorted({g for g in guides if g.startswith(CONTROL)}))}
    rows = [
        of[name] if name in of else controls[guide] % design.positions
        for name, guide in zip(cells["perturbation"].to_list(), guides, strict=True)
    ]
    return np.array(rows, dtype=np.int64), adds


def _programs(rng: np.random.Generator, n: int, *, genes: int, share: float) -> Floats:
    """Draw effects of root mean square 1 on as many random genes as the share says, shape (n, genes)."""
    n_hit = round(share * genes)
    programs = np.zeros((n, genes))
    for program in programs:
        hit = rng.choice(genes, size=n_hit, replace=False)
        values = rng.standard_normal(n_hit)
        # Scaled exactly, so that no module is strong or weak by the luck of its draw.
        program[hit] = values / np.sqrt((values**2).mean()) if n_hit else values
    return programs


def _draw_cells(
    design: ScreenDesign, rng: np.random.Generator
) -> tuple[pl.DataFrame, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw the cells of every guide in every batch; their perturbations and batches by number, too."""
    n_guides = design.perturbations * design.guides
    guides = [f"{name}-g{i + 1}" for name in design.names for i in range(design.guides)]
    guides += [f"{CONTROL}-g{i}" for i in _numbered("", design.control_guides)]
    owner = np.r_[np.arange(n_guides) // design.guides, np.full(design.control_guides, design.perturbations)]
    batches = np.array(_numbered("batch", design.batches))
    n_cells = 1 + rng.poisson(design.cells - 1, size=(len(guides), design.batches))
    guide, batch = (np.repeat(index.ravel(), n_cells.ravel()) for index in np.indices(n_cells.shape))
    escaped = (rng.random(len(guide)) < design.escape) & (owner[guide] < design.perturbations)
    # Cells come off the machine batch by batch and in no order of perturbations.
    order = np.lexsort((rng.random(len(guide)), batch))
    guide, batch, escaped = guide[order], batch[order], escaped[order]
    perturbation = owner[guide]
    labels = np.array([*design.names, CONTROL])
    table = pl.DataFrame(
        {
            "cell": _numbered("cell", len(guide)),
            "perturbation": labels[perturbation],
            "guide": np.array(guides)[guide],
            "batch": batches[batch],
            "escaped": escaped,
        }
    )
    return table, perturbation, batch


def _draw_counts(
    design: ScreenDesign,
    rng: np.random.Generator,
    *,
    log_rates: tuple[Floats, Floats, Floats],
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> csr_matrix:
    """Draw negative binomial counts of cells, some rows at a time."""
    from scipy import sparse

    baseline, batch_effects, changes = log_rates
    batch, works = rows
    depth = design.depth * np.exp(design.depth_sd * rng.standard_normal(len(batch)))
    blocks = []
    for start in range(0, len(batch), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        rate = np.exp(baseline + batch_effects[batch[part]] + changes[works[part]])
        mean = depth[part, None] * rate / rate.sum(axis=1, keepdims=True)
        # A gamma mixture of Poisson counts is negative binomial.
        counts = rng.poisson(rng.gamma(design.theta, mean / design.theta))
        blocks.append(sparse.csr_matrix(counts.astype(np.int32)))
    stacked: csr_matrix = sparse.vstack(blocks, format="csr", dtype=np.int32)
    return stacked


def _pairs_within(table: pl.DataFrame, column: str) -> Pairs:
    """Undirected pairs of perturbations that agree in a column, each once and sorted."""
    groups = table.drop_nulls(column).sort("perturbation").group_by(column, maintain_order=True)
    found = [pair for _, lines in groups for pair in combinations(lines["perturbation"].to_list(), 2)]
    return tuple(sorted(found))


def _numbered(prefix: str, n: int) -> tuple[str, ...]:
    """Name things by numbers of equal width, so that text and number sort alike."""
    width = max(3, len(str(n))) if prefix in ("P", "cell", "G") else max(2, len(str(n)))
    return tuple(f"{prefix}{i:0{width}d}" for i in range(1, n + 1))
