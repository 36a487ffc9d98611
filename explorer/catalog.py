"""The datasets on offer and nothing outside them; each is read once a process, and shared read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from explorer.activity import Activity, measure_activity
from explorer.aggregate import PerturbationMap, build_map, map_from_moments
from explorer.build import MOST_REPLICATE_BYTES
from explorer.card import CARD_FILE, NAME_PATTERN, is_knowledge
from explorer.compare import OverlapDistribution, overlap_distribution
from explorer.errors import InputError, unknown_name
from explorer.halves import replicate_halves
from explorer.keeping import Shared
from explorer.knowledge import knowledge_beside
from explorer.labels import label_rows
from explorer.layout import Layout, cached_umap, pca_layout
from explorer.load import Dataset, load_dataset, load_layout, load_screen
from explorer.moments import ScreenMoments, collect_moments
from explorer.relate import prepare_queries
from explorer.relationships import Knowledge
from explorer.screen import Roles, Screen


@dataclass(frozen=True, slots=True)
class Catalog:
    """The datasets that may be opened, by name.

    Attributes
    ----------
    datasets
        Those that can be used.
    problems
        One sentence for each folder that has a card and can't be used.
    """

    datasets: Mapping[str, Dataset]
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(self.datasets)

    def dataset(self, name: str) -> Dataset:
        """Look a dataset up.

        Raises
        ------
        InputError
            When it is not in the catalog, or can't be used.
        """
        if name in self.problems:
            raise InputError(self.problems[name])
        if name not in self.datasets:
            msg = "dataset"
            raise unknown_name(msg, name, self.datasets)
        return self.datasets[name]


_served: list[Path] = []


def serve_only(path: Path) -> None:
    """Make one catalog the only one that notebooks of this process open, whatever else they are told."""
    _served[:] = [path.resolve()]


def served_path() -> Path | None:
    """Path of the catalog that this process serves; None where it is no server."""
    return _served[0] if _served else None


def open_catalog(path: str | Path) -> Catalog:
    """List the datasets below a folder; a dataset folder or a single file is a catalog of one.

    Only folders directly below, with a plain name and a card, count; links that lead out do not.

    Raises
    ------
    InputError
        When there is no usable dataset.
    """
    root = Path(path)
    if root.is_dir() and not (root / CARD_FILE).is_file() and root.suffix != ".zarr":
        datasets, problems = {}, {}
        for folder in sorted(root.iterdir()):
            try:
                if _is_offered(folder, root) and not is_knowledge(folder):
                    datasets[folder.name] = load_dataset(folder)
            except InputError as error:
                problems[folder.name] = str(error)
        if not datasets:
            first = next(iter(problems.values()), f"no folder with a {CARD_FILE} in it")
            message = f"no usable dataset in {root.name!r}: {first}"
            raise InputError(message)
        return Catalog(datasets, problems)
    dataset = load_dataset(root)
    return Catalog({dataset.name: dataset})


def _is_offered(folder: Path, root: Path) -> bool:
    if not NAME_PATTERN.fullmatch(folder.name):
        return False
    try:
        return folder.resolve().parent == root.resolve() and (folder / CARD_FILE).is_file()
    except (OSError, RuntimeError) as error:
        if folder.is_symlink():  # a link to itself, or to what may not be seen
            return False
        message = f"can't open {folder.name!r}: {error}; check who may read it"
        raise InputError(message) from error


_shared = Shared()


def shared_screen(dataset: Dataset, context: str) -> Screen:
    """Screen of one context, read once a process."""
    return _shared.get(("screen", *identity_of(dataset), context), lambda: load_screen(dataset, context))


def shared_knowledge(dataset: Dataset) -> Knowledge:
    """Known relationships beside a dataset, read once a process."""
    return _shared.get(("knowledge", *identity_of(dataset)), lambda: knowledge_beside(dataset))


def shared_moments(dataset: Dataset, context: str, representation: str) -> ScreenMoments | None:
    """Moments of one representation, collected once a process: every alignment follows without reading a row.

    Returns
    -------
    ScreenMoments or None
        None where the table of units would be too large to keep.
    """

    def make() -> ScreenMoments | None:
        screen = shared_screen(dataset, context)
        source = screen.representation(representation)
        if 8 * label_rows(screen).n_units * source.n_features > MOST_REPLICATE_BYTES:
            return None
        return collect_moments(screen, source, medians=True)

    return _shared.get(("moments", *identity_of(dataset), context, representation), make)


def shared_map(dataset: Dataset, context: str, representation: str, *, alignment: str = "none") -> PerturbationMap:
    """Map of one context, representation and alignment, made once a process."""
    key = ("map", *identity_of(dataset), context, representation, alignment)

    def make() -> PerturbationMap:
        screen, moments = shared_screen(dataset, context), shared_moments(dataset, context, representation)
        if moments is None:
            made = build_map(screen, representation, alignment=alignment)
        else:
            made = map_from_moments(screen, screen.representation(representation), moments, alignment=alignment)
        prepare_queries(made)
        return made

    return _shared.get(key, make)


def shared_halves(
    dataset: Dataset, context: str, representation: str, *, alignment: str = "none"
) -> tuple[PerturbationMap, PerturbationMap] | None:
    """Make maps of two halves of the replicates, once a process; None where there are no replicates."""
    key = ("halves", *identity_of(dataset), context, representation, alignment)

    def make() -> tuple[PerturbationMap, PerturbationMap] | None:
        screen, moments = shared_screen(dataset, context), shared_moments(dataset, context, representation)
        return replicate_halves(screen, representation, alignment=alignment, moments=moments)

    return _shared.get(key, make)


def shared_activity(
    dataset: Dataset, context: str, representation: str, *, alignment: str = "none"
) -> tuple[Activity | None, str]:
    """Activity of every perturbation, judged once a process; None and the reason where it can't be."""
    key = ("activity", *identity_of(dataset), context, representation, alignment)

    def make() -> tuple[Activity | None, str]:
        screen, moments = shared_screen(dataset, context), shared_moments(dataset, context, representation)
        if moments is None:
            return None, "activity was not judged: this screen has too many pairs of guide and batch"
        try:
            return measure_activity(screen, representation, alignment=alignment, moments=moments), ""
        except InputError as error:
            return None, str(error)

    return _shared.get(key, make)


def shared_layout(dataset: Dataset, perturbation_map: PerturbationMap, *, compute_umap: bool = False) -> Layout:
    """Layout of a map: shipped with the dataset, else UMAP from the cache, else PCA at once.

    Parameters
    ----------
    dataset, perturbation_map
        The map, and the dataset that it comes from.
    compute_umap
        Whether to make the UMAP now where there is none yet; this takes seconds to minutes.
    """
    key = ("layout", perturbation_map.fingerprint, perturbation_map.n_perturbations)

    def ready() -> Layout | None:
        shipped = load_layout(dataset, perturbation_map)
        return shipped if shipped is not None else cached_umap(perturbation_map, compute=compute_umap)

    # What was looked for in vain is kept under another name than what was made, or it would hide it.
    found = _shared.get((*key, "made" if compute_umap else "found"), ready)
    if found is None:
        found = _shared.peek((*key, "made"))
    return found if found is not None else _shared.get((*key, "PCA"), lambda: pca_layout(perturbation_map))


def shared_overlaps(
    left: PerturbationMap, right: PerturbationMap, *, k: int, opposite: bool = False
) -> OverlapDistribution:
    """Overlap of every query in two maps, made once a process for each pair of recipes."""
    key = ("overlaps", left.fingerprint, right.fingerprint, k, opposite)
    return _shared.get(key, lambda: overlap_distribution(left, right, k=k, opposite=opposite))


def identity_of(dataset: Dataset) -> tuple[str, float, Roles]:
    """Path, time of the card and roles: a dataset that was replaced on disk, or is read otherwise, is read again."""
    card = dataset.path / CARD_FILE if dataset.path.is_dir() and (dataset.path / CARD_FILE).is_file() else dataset.path
    try:
        return str(dataset.path.resolve()), card.stat().st_mtime, dataset.card.roles
    except OSError as error:
        message = f"the dataset {dataset.name!r} is no longer there: {error.strerror}"
        raise InputError(message) from error
