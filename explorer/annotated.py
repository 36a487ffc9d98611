"""Which pairs of a map are known already, and which are annotated apart: what a list of new pairs leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from explorer.known import GIVEN, KnownPairs
from explorer.stand_ins import known_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What sources say of the pairs of some perturbations.

    A pair is *known* where a source lists it, or names both in one of its groups. It is *annotated apart* where a
    source that names groups has both of them, in different ones, and no source knows the pair. Communities of a graph
    of pairs are no groups of the source, so nobody is apart by them.

    Attributes
    ----------
    names
        Perturbations, sorted.
    n_known
        Different pairs that are known.
    degree
        Known partners of each perturbation, shape (n_perturbations,).
    """

    names: tuple[str, ...] = field(repr=False)
    n_known: int
    degree: npt.NDArray[np.int64] = field(repr=False)
    _known: csr_matrix = field(repr=False)
    _inside: tuple[csr_matrix, ...] = field(repr=False)

    @property
    def has_groups(self) -> bool:
        """Whether a source names groups, without which nobody is annotated apart."""
        return bool(self._inside)

    def known_block(self, start: int, stop: int) -> Flags:
        """Tell which pairs of some rows and all from `start` on are known, shape (stop − start, n − start)."""
        return np.asarray(self._known[start:stop, start:].toarray() > 0)

    def apart_block(self, start: int, stop: int) -> Flags:
        """Tell which pairs of some rows and all from `start` on are annotated apart, shape as `known_block`."""
        apart = np.zeros((stop - start, len(self.names) - start), dtype=bool)
        for inside in self._inside:
            grouped = np.asarray(inside.getnnz(axis=1) > 0)
            together = (inside[start:stop] @ inside[start:].T).toarray() > 0
            apart |= grouped[start:stop, None] & grouped[None, start:] & ~together
        return apart & ~self.known_block(start, stop)

    def known(self, first: Rows, second: Rows) -> Flags:
        """Tell which pairs of rows are known, shape (n_pairs,)."""
        return np.asarray(self._known[first, second]).ravel() > 0 if len(first) else np.zeros(0, dtype=bool)

    def apart(self, first: Rows, second: Rows) -> Flags:
        """Tell which pairs of rows are annotated apart, shape (n_pairs,)."""
        apart = np.zeros(len(first), dtype=bool)
        for inside in self._inside:
            grouped = np.asarray(inside.getnnz(axis=1) > 0)
            shared = np.asarray(inside[first].multiply(inside[second]).sum(axis=1)).ravel()
            apart |= grouped[first] & grouped[second] & (shared == 0)
        return apart & ~self.known(first, second)


def annotate(known: Sequence[KnownPairs], names: Sequence[str]) -> Annotation:
    """Collect what all sources say of some perturbations.

    Parameters
    ----------
    known
        Sources, looked up in any map; what they say of other perturbations is passed over.
    names
        The perturbations, sorted.
    """
    from scipy import sparse

    n = len(names)
    place = {name: row for row, name in enumerate(names)}
    inside = []
    for source in known:
        if source.kind != GIVEN:
            continue
        at = np.array([place.get(name, -1) for name in source.names], dtype=np.intp)
        groups = [at[rows] for rows in source.groups.values()]
        owner = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        member = np.concatenate(groups) if groups else np.zeros(0, dtype=np.intp)
        here = member >= 0
        ones = np.ones(int(here.sum()), dtype=np.int32)
        inside.append(sparse.csr_matrix((ones, (member[here], owner[here])), shape=(n, len(groups))))
    first, second = known_rows(known, tuple(names))
    listed = sparse.csr_matrix((np.ones(len(first), dtype=np.int32), (first, second)), shape=(n, n))
    every = listed + listed.T
    for source_groups in inside:
        every = every + source_groups @ source_groups.T
    every = sparse.csr_matrix(every)
    every.setdiag(0)
    every.eliminate_zeros()
    degree = np.asarray(every.getnnz(axis=1), dtype=np.int64)
    degree.setflags(write=False)
    return Annotation(tuple(names), int(degree.sum()) // 2, degree, every, tuple(inside))
