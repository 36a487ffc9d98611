"""2-D layouts for display. Nothing is ever scored in them: neighbours come from the native space."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.digits import counted
from explorer.memory import require_memory
from explorer.relate import TIE_DECIMALS, score_blocks, unit_rows
from explorer.store import artefact_key, load_arrays, save_arrays

Layout2D = npt.NDArray[np.float32]
LayoutMethod = Literal["UMAP", "PCA"]

UMAP_NEIGHBORS = 15
MOST_FOR_EXACT_PCA = 600
TRUST_NEIGHBORS = 10
MOST_TRUST_QUERIES = 200
# Profiles in float64 that are held at once, and the bytes beyond which a map is not converted as a whole.
_BLOCK_BYTES = 8 * 2**20
_MOST_WHOLE_BYTES = 64 * 2**20
# Where numba has no OpenMP its threads end the process when two pieces of work use them at once.
_one_umap = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Positions for a picture of a map.

    Attributes
    ----------
    method
        How they were found.
    coordinates
        Shape (n_perturbations, 2); NaN where a profile has length zero.
    trustworthiness
        How well the picture keeps native neighbours at 10: 1 when every neighbour in the picture is one in
        the native space, about .5 for random positions.
    """

    method: str
    coordinates: Layout2D
    trustworthiness: float

    @property
    def caption(self) -> str:
        """What a reader must know before reading distances off the picture."""
        trust = "not defined for so few" if np.isnan(self.trustworthiness) else f"{self.trustworthiness:.2f}"
        return f"{self.method} picture, trustworthiness {trust}"


def unit_profiles(perturbation_map: PerturbationMap) -> npt.NDArray[np.float32]:
    """Profiles of length one, NaN where the length is zero, shape (n_perturbations, n_features)."""
    norms = np.where(perturbation_map.norms > 0, perturbation_map.norms, np.nan)
    return unit_rows(perturbation_map.profiles, norms)


def pca_layout(perturbation_map: PerturbationMap) -> Layout:
    """Lay a map out on the first two principal components of its unit profiles, at once.

    Raises
    ------
    InputError
        When the profiles in float64 have no room in memory.
    """
    unit = unit_profiles(perturbation_map)
    usable = np.asarray(np.isfinite(unit).all(axis=1))
    is_narrow = unit.shape[1] <= min(MOST_FOR_EXACT_PCA, int(usable.sum()))
    if is_narrow and 8 * unit.size > _MOST_WHOLE_BYTES:
        axes, middle = _axes_in_blocks(unit, usable)
    else:
        of = f"{counted(len(unit), 'perturbation')} × {counted(unit.shape[1], 'feature')}"
        require_memory(12 * unit.size, of=of)
        centred = unit[usable].astype(np.float64)
        middle = centred.mean(axis=0) if usable.any() else np.zeros(unit.shape[1])
        centred -= middle
        axes = _first_axes(centred)
    # An eigenvector's sign is arbitrary: its largest entry is made positive, so that pictures repeat.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    coordinates = np.full((len(unit), 2), np.nan)
    for rows in _row_blocks(np.flatnonzero(usable), unit.shape[1]):
        coordinates[rows, : axes.shape[1]] = (unit[rows].astype(np.float64) - middle) @ axes
    if axes.shape[1] == 1:
        coordinates[usable, 1] = 0.0
    return _layout(perturbation_map, coordinates, "PCA")


def _row_blocks(rows: npt.NDArray[np.intp], n_features: int) -> Iterator[npt.NDArray[np.intp]]:
    step = max(1, _BLOCK_BYTES // (8 * max(1, n_features)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _axes_in_blocks(
    unit: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find the two directions of largest variance, and the mean, without a copy of the map in float64."""
    n_features = unit.shape[1]
    rows = np.flatnonzero(usable)
    middle = sum((unit[block].sum(axis=0, dtype=np.float64) for block in _row_blocks(rows, n_features)), start=0.0)
    middle = np.asarray(middle / len(rows))
    scatter = np.zeros((n_features, n_features))
    for block in _row_blocks(rows, n_features):
        centred = unit[block] - middle
        scatter += centred.T @ centred
    return np.asarray(np.linalg.eigh(scatter)[1][:, ::-1][:, :2]), middle


def _first_axes(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Find the two directions of largest variance, shape (n_features, ≤ 2)."""
    if min(centred.shape) <= MOST_FOR_EXACT_PCA:
        if centred.shape[1] <= centred.shape[0]:
            return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2])
        return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][:2].T)
    # Thousands of genes: two vectors by Lanczos instead of a decomposition that takes a minute.
    from scipy.sparse.linalg import svds

    _, strengths, axes = svds(centred, k=2, v0=np.ones(min(centred.shape)))
    return np.asarray(axes[np.argsort(-strengths)].T)


def umap_layout(perturbation_map: PerturbationMap, *, seed: int = 0) -> Layout:
    """Lay a map out with UMAP on cosine distances; takes seconds to minutes, so it is made ahead.

    Parameters
    ----------
    perturbation_map
        At least four perturbations with a profile; with fewer the PCA picture is returned.
    seed
        Of UMAP.

    References
    ----------
    McInnes et al. 2018, doi:10.21105/joss.00861.
    """
    unit = unit_profiles(perturbation_map)
    usable = np.isfinite(unit).all(axis=1)
    if usable.sum() < 4:
        return pca_layout(perturbation_map)
    import warnings

    with _one_umap, warnings.catch_warnings():
        # Each is advice about speed or an optional neural variant, none about the result.
        warnings.filterwarnings("ignore", message="n_jobs value")
        warnings.filterwarnings("ignore", message=".*[Tt]ensorflow.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import umap

        model = umap.UMAP(
            n_neighbors=int(min(UMAP_NEIGHBORS, usable.sum() - 1)),
            metric="cosine",
            random_state=seed,
            n_jobs=1,
        )
        found = model.fit_transform(unit[usable])
    coordinates = np.full((len(unit), 2), np.nan)
    coordinates[usable] = found
    return _layout(perturbation_map, coordinates, "UMAP")


def cached_umap(perturbation_map: PerturbationMap, *, compute: bool, seed: int = 0) -> Layout | None:
    """Find a UMAP layout in the disk cache; make and keep it only when told to."""
    key = artefact_key(
        "umap",
        perturbation_map.fingerprint,
        # A map restricted to some perturbations has the recipe of the whole.
        *perturbation_map.names,
        seed,
        made_by=tuple(sys.modules[f"explorer.{name}"] for name in ("moments", "align", "aggregate", "layout")),
    )
    kept = load_arrays(key)
    expected = {"coordinates": (perturbation_map.n_perturbations, 2), "trustworthiness": ()}
    if kept is not None and {name: values.shape for name, values in kept.items()} == expected:
        return Layout("UMAP", kept["coordinates"], float(kept["trustworthiness"]))
    if not compute:
        return None
    made = umap_layout(perturbation_map, seed=seed)
    save_arrays(key, {"coordinates": made.coordinates, "trustworthiness": np.array(made.trustworthiness)})
    return made


def rotate_onto(reference: npt.ArrayLike, moving: npt.ArrayLike) -> Layout2D:
    """Turn, mirror and scale one layout so that it lies on another as well as it can.

    Parameters
    ----------
    reference, moving
        Layouts of the same perturbations, shape (n, 2); lines with NaN on either side do not steer.

    Returns
    -------
    numpy.ndarray
        `moving` in the frame of `reference`, shape (n, 2); relative distances within it are kept.

    References
    ----------
    Schönemann 1966, doi:10.1007/BF02289451 (orthogonal Procrustes).
    """
    target = np.asarray(reference, dtype=np.float64)
    source = np.asarray(moving, dtype=np.float64)
    both = np.isfinite(target).all(axis=1) & np.isfinite(source).all(axis=1)
    if both.sum() < 2:
        return source.astype(np.float32)
    middle, centre = target[both].mean(axis=0), source[both].mean(axis=0)
    one, other = source[both] - centre, target[both] - middle
    left, strengths, right = np.linalg.svd(one.T @ other)
    spread = float((one**2).sum())
    # Scaled to the same spread, not by least squares, which would shrink unlike layouts to a dot.
    scale = np.sqrt(float((other**2).sum()) / spread) if spread > 0 and strengths.any() else 1.0
    turned: Layout2D = ((source - centre) @ (left @ right) * scale + middle).astype(np.float32)
    return turned


def trustworthiness(
    perturbation_map: PerturbationMap, coordinates: npt.ArrayLike, *, k: int = TRUST_NEIGHBORS, seed: int = 0
) -> float:
    """Score how well a layout keeps the native cosine neighbours.

    Parameters
    ----------
    perturbation_map, coordinates
        The map, and its layout, shape (n_perturbations, 2).
    k
        Neighbours looked at in the picture.
    seed
        Of the sample of 200 perturbations that stands for a larger map.

    Returns
    -------
    float
        From 0 to 1, larger is better; NaN when k is not below half the number of perturbations.

    References
    ----------
    Venna and Kaski 2001, doi:10.1007/3-540-44668-0_68.
    """
    points = np.asarray(coordinates, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(points).all(axis=1) & (perturbation_map.norms > 0))
    n = len(usable)
    if not k < n / 2:
        return float("nan")
    queries = usable
    if n > MOST_TRUST_QUERIES:
        queries = np.random.default_rng(seed).choice(usable, size=MOST_TRUST_QUERIES, replace=False)
    everyone = np.arange(perturbation_map.n_perturbations)[None, :]
    penalty = 0.0
    for start, block in score_blocks(perturbation_map, queries):
        asked = queries[start : start + len(block)]
        distances = np.zeros((len(asked), n))
        for axis in (0, 1):
            apart = points[asked, axis, None] - points[None, usable, axis]
            distances += np.square(apart, out=apart)
        distances[usable[None, :] == asked[:, None]] = np.inf
        shown = usable[np.argpartition(distances, k, axis=1)[:, :k]]
        for scores, neighbors in zip(np.round(block, TIE_DECIMALS), shown, strict=True):
            own = scores[neighbors][:, None]
            # Ties are broken by name, as everywhere for display.
            before = (scores[None, :] > own) | ((scores[None, :] == own) & (everyone < neighbors[:, None]))
            penalty += float(np.maximum(before.sum(axis=1) + 1 - k, 0).sum())
    return 1.0 - penalty * 2.0 / (len(queries) * k * (2 * n - 3 * k - 1))


def _layout(perturbation_map: PerturbationMap, coordinates: npt.NDArray[np.float64], method: LayoutMethod) -> Layout:
    return Layout(method, coordinates.astype(np.float32), trustworthiness(perturbation_map, coordinates))
