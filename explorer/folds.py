"""Training and test perturbations that share no group: folds by groups, and a buffer around each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError
from explorer.known import KnownPairs, Units

Rows = npt.NDArray[np.intp]

N_FOLDS = 5
N_BLOCK_SETS = 20
# A fold may hold so many times its even share, so that large groups need not be split.
CAPACITY = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Which fold tests each perturbation, what may train for it, and which perturbations are one unit.

    Attributes
    ----------
    fold
        Number of the fold that tests a perturbation, shape (n_perturbations,).
    block
        Number of its block: its largest merged group, else itself alone.
    n_folds, n_blocks
        How many there are.
    buffered
        Perturbations that may not train for a fold since they share an original group with one it tests, shape
        (n_folds, n_perturbations); False for those that it tests.
    """

    fold: Rows = field(repr=False)
    block: Rows = field(repr=False)
    n_folds: int
    n_blocks: int
    buffered: npt.NDArray[np.bool_] = field(repr=False)

    def tested(self, fold: int) -> Rows:
        """Rows that a fold tests."""
        return np.flatnonzero(self.fold == fold)

    def training(self, fold: int) -> Rows:
        """Rows that may train for a fold: neither tested nor in its buffer."""
        return np.flatnonzero((self.fold != fold) & ~self.buffered[fold])

    @property
    def share_kept(self) -> npt.NDArray[np.float64]:
        """Share of the perturbations outside each fold that the buffer leaves, shape (n_folds,)."""
        n_outside = len(self.fold) - np.bincount(self.fold, minlength=self.n_folds)
        return np.asarray(1 - self.buffered.sum(axis=1) / np.maximum(n_outside, 1))


def group_folds(
    n_perturbations: int, units: Units, sources: Iterable[KnownPairs], *, n_folds: int = N_FOLDS, seed: int = 0
) -> Folds:
    """Deal perturbations to folds by merged groups, and buffer each fold by the original ones.

    Units are dealt largest first, those of one size in random order: what is not yet dealt of a unit goes to the fold
    that holds most of it already (among equals, to the emptiest), if it has room there: 1.1 times an even share. A
    unit that finds room in no fold is divided. Perturbations in no unit even the folds out. Merged groups overlap, so
    partners are parted all the same; therefore what shares an *original* group with a tested perturbation does not
    train for its fold.

    Parameters
    ----------
    n_perturbations
        Number of perturbations, all of which are tested once.
    units
        The merged groups, of `explorer.known.pool_units`.
    sources
        The original groups. Of a source without groups they are the communities of its graph, so that pairs between
        communities are not kept apart.
    n_folds
        Number of folds.
    seed
        Of the order of units of one size and of perturbations in no unit.

    Raises
    ------
    InputError
        When there are fewer perturbations than folds.

    References
    ----------
    Roberts et al. 2017, doi:10.1111/ecog.02881 (blocks and buffers where observations depend on each other).
    """
    if not 2 <= n_folds <= n_perturbations:
        message = (
            f"{n_perturbations:,} perturbations cannot be dealt to {n_folds} folds: expected 2 folds or more, and a "
            "perturbation for each"
        )
        raise InputError(message)
    fold = _deal(n_perturbations, units, n_folds=n_folds, seed=seed)
    buffered = np.zeros((n_folds, n_perturbations), dtype=np.bool_)
    for source in sources:
        for members in source.groups.values():
            buffered[np.ix_(np.unique(fold[members]), members)] = True
    buffered[fold, np.arange(n_perturbations)] = False
    block = _blocks(n_perturbations, units)
    for array in (fold, block, buffered):
        array.setflags(write=False)
    return Folds(fold=fold, block=block, n_folds=n_folds, n_blocks=int(block.max()) + 1, buffered=buffered)


def block_sets(n_blocks: int, *, n_sets: int = N_BLOCK_SETS, seed: int = 0) -> Rows:
    """Deal blocks to random sets of nearly equal size, for the jackknife: the set of each, shape (n_blocks,).

    With fewer blocks than sets, each block is a set of its own.
    """
    return np.random.default_rng(seed).permutation(np.arange(n_blocks, dtype=np.intp) % n_sets)


def _deal(n: int, units: Units, *, n_folds: int, seed: int) -> Rows:
    """Choose the fold of every perturbation."""
    rng = np.random.default_rng(seed)
    # Rounded up, so that there is room for all in any case; but 22.000000000000004 is 22.
    capacity = int(np.ceil(round(CAPACITY * n / n_folds, 9)))
    fold = np.full(n, -1, dtype=np.intp)
    held = np.zeros(n_folds, dtype=np.int64)
    for number in _largest_first(units, rng):
        members = units.members[number]
        waiting = members[fold[members] < 0]
        own = np.bincount(fold[members][fold[members] >= 0], minlength=n_folds)
        while len(waiting):
            # A fold with room for all of them; where there is none, one with any.
            open_ = np.flatnonzero(held + len(waiting) <= capacity)
            if not len(open_):
                open_ = np.flatnonzero(held < capacity)
                waiting = rng.permutation(waiting)
            chosen = open_[np.lexsort((open_, held[open_], -own[open_]))[0]]
            taken, waiting = np.split(waiting, [min(len(waiting), int(capacity - held[chosen]))])
            fold[taken] = chosen
            held[chosen] += len(taken)
            own[chosen] += len(taken)
    for row in rng.permutation(np.flatnonzero(fold < 0)).tolist():
        chosen = int(np.argmin(held))
        fold[row] = chosen
        held[chosen] += 1
    return fold


def _largest_first(units: Units, rng: np.random.Generator) -> list[int]:
    """Order units by size, those of one size at random: by their names, whatever order they came in."""
    by_name = sorted(range(units.n_units), key=lambda number: (units.names[number], number))
    drawn = [by_name[place] for place in rng.permutation(len(by_name)).tolist()]
    return sorted(drawn, key=lambda number: -len(units.members[number]))


def _blocks(n: int, units: Units) -> Rows:
    """Find the largest merged group of every perturbation, the first by name among equals; else itself alone."""
    owner = np.full(n, -1, dtype=np.intp)
    # Smaller ones first, so that the larger one overwrites them.
    for number in sorted(
        range(units.n_units), key=lambda number: (-len(units.members[number]), units.names[number]), reverse=True
    ):
        owner[units.members[number]] = number
    alone = np.flatnonzero(owner < 0)
    owner[alone] = units.n_units + np.arange(len(alone))
    return np.unique(owner, return_inverse=True)[1].astype(np.intp)
