"""The datasets on offer and nothing outside them; each is read once a process, and shared read-only."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from explorer.activity import Activity, measure_activity
from explorer.aggregate import PerturbationMap, build_map, map_from_moments
from explorer.build import MOST_REPLICATE_BYTES
from explorer.card import CARD_FILE, NAME_PATTERN, is_knowledge, read_card
from explorer.compare import OverlapDistribution, common_maps, overlap_distribution
from explorer.errors import InputError, shown, unknown_name
from explorer.halves import can_be_halved, replicate_halves
from explorer.keeping import Shared
from explorer.knowledge import knowledge_beside
from explorer.labels import label_rows
from explorer.layout import Layout, cached_umap, pca_layout, rotate_onto
from explorer.load import Dataset, is_key, load_dataset, load_layout, load_screen
from explorer.moments import ScreenMoments, collect_moments
from explorer.relate import prepare_queries
from explorer.relationships import GeneSetIndex, Knowledge, index_gene_sets
from explorer.screen import Screen
from explorer.sources import SpreadSource, State, state_of


@dataclass(frozen=True, slots=True)
class Catalog:
    """The datasets that may be opened, by name.

    Attributes
    ----------
    datasets
        Those that can be used.
    problems
        One sentence for each folder that can't be used: its card is wrong, or it holds data and has no card, or it is
        a link that leads elsewhere.
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


# Folders that hold such files look meant as datasets.
_DATA_SUFFIXES = (".h5ad", ".zarr", ".parquet", ".csv")

_served: list[Path] = []


def serve_only(path: Path) -> None:
    """Make one catalog the only one that notebooks of this process open, whatever else they are told."""
    _served[:] = [path.resolve()]


def served_path() -> Path | None:
    """Path of the catalog that this process serves; None where it is no server."""
    return _served[0] if _served else None


def open_catalog(path: str | Path, *, context_column: object = None) -> Catalog:
    """List the datasets below a folder; a dataset folder or a single file is a catalog of one.

    Only folders directly below, with a plain name and a card, count; links that lead out, and folders of data without
    a card, are said to be problems.

    Parameters
    ----------
    path
        The folder or file.
    context_column
        For a single file without a card: column whose values are its contexts, as in `explorer.load.load_dataset`;
        taken as text, since an address or a command line may have made a number of it.

    Raises
    ------
    InputError
        When there is no usable dataset; an absolute path is not repeated, since a visitor of a server may read it.
    """
    root = Path(path)
    called = root.name if root.is_absolute() else str(root)
    try:
        if root.is_dir() and not (root / CARD_FILE).is_file() and root.suffix != ".zarr":
            if context_column is not None:
                message = f"{shown(called)} is a folder of datasets, whose cards name their contexts: name one file"
                raise InputError(message)
            return _open_folders(root)
    except OSError as error:
        message = f"can't open {shown(called)}: {error.strerror or 'it can not be read'}; check who may read it"
        raise InputError(message) from error
    column = None if context_column is None else str(context_column)
    dataset = load_dataset(root, context_column=column, called=called)
    return Catalog({dataset.name: dataset})


def _open_folders(root: Path) -> Catalog:
    datasets, problems = {}, {}
    for folder in sorted(root.iterdir()):
        try:
            if _is_offered(folder, root) and not is_knowledge(folder):
                datasets[folder.name] = load_dataset(folder, called=folder.name)
            elif problem := _why_passed_over(folder, root):
                problems[folder.name] = problem
        except InputError as error:
            problems[folder.name] = str(error)
    if not datasets:
        first = next(iter(problems.values()), f"no folder with a {CARD_FILE} in it")
        message = f"no usable dataset in {root.name!r}: {first}"
        raise InputError(message)
    return Catalog(datasets, problems)


def _is_offered(folder: Path, root: Path) -> bool:
    if not NAME_PATTERN.fullmatch(folder.name):
        return False
    try:
        return folder.resolve().parent == root.resolve() and (folder / CARD_FILE).is_file()
    except (OSError, RuntimeError) as error:
        if folder.is_symlink():  # a link to itself, or to what may not be seen
            return False
        reason = getattr(error, "strerror", None) or "it can not be read"
        message = f"can't open {folder.name!r}: {reason}; check who may read it"
        raise InputError(message) from error


def _why_passed_over(folder: Path, root: Path) -> str:
    """Say why a folder that looks meant as a dataset is none; empty where it does not look so."""
    if not NAME_PATTERN.fullmatch(folder.name):
        return ""
    try:
        if not folder.is_dir():
            return ""
        if folder.resolve().parent != root.resolve():
            # What lies outside is not looked at.
            return f"{folder.name!r} is a link that leads out of the catalog: put the folder itself there"
        if (folder / CARD_FILE).is_file() or not any(item.suffix in _DATA_SUFFIXES for item in folder.iterdir()):
            return ""
    except (OSError, RuntimeError):
        return ""  # a link to itself, or what may not be seen
    return f"no {CARD_FILE} in {folder.name!r}: write one beside its files, or take the folder out of the catalog"


_shared = Shared()
# A table of units as large as the rows is quicker read again than kept: only the last one is.
_large_moments = Shared(most=1)
MOST_KEPT_MOMENTS = 128 * 2**20


# What a dataset is on disk at the moment.
Identity = tuple[Hashable, ...]


def shared_screen(dataset: Dataset, context: str) -> Screen:
    """Screen of one context, read once a process."""
    return _screen(dataset, context, _identity_of_rows(dataset))


def shared_knowledge(dataset: Dataset) -> Knowledge:
    """Known relationships beside a dataset, read once a process."""
    identity = identity_of(dataset)

    def make() -> Knowledge:
        found = knowledge_beside(dataset)
        require_unchanged(dataset, identity)
        return found

    return _shared.get(("knowledge", *identity), make)


def shared_moments(dataset: Dataset, context: str, representation: str) -> ScreenMoments | None:
    """Moments of one representation, collected once a process: every alignment follows without reading a row.

    Returns
    -------
    ScreenMoments or None
        None where the table of units would be too large to keep.
    """
    return _screen_and_moments(dataset, (context, representation), _identity_of_rows(dataset))[1]


def shared_map(dataset: Dataset, context: str, representation: str, *, alignment: str = "none") -> PerturbationMap:
    """Map of one context, representation and alignment, made once a process."""
    identity = _identity_of_rows(dataset)

    def make() -> PerturbationMap:
        screen, moments = _screen_and_moments(dataset, (context, representation), identity)
        if moments is None:
            made = build_map(screen, representation, alignment=alignment)
        else:
            made = map_from_moments(screen, screen.representation(representation), moments, alignment=alignment)
        prepare_queries(made)
        # The same texts for every map of the same perturbations: comparing them is then a look at each, or none.
        return replace(made, names=_shared.get(("names", made.names), lambda: made.names))

    return _shared.get(("map", *identity, context, representation, alignment), make)


def shared_halves(
    dataset: Dataset, context: str, representation: str, *, alignment: str = "none"
) -> tuple[PerturbationMap, PerturbationMap] | None:
    """Make maps of two halves of the replicates, once a process; None without replicates, or with too many to keep."""
    identity = _identity_of_rows(dataset)

    def make() -> tuple[PerturbationMap, PerturbationMap] | None:
        # Moments of a large screen are collected anew for this, so first of all whether it is of any use.
        screen = _screen(dataset, context, identity)
        if not can_be_halved(screen) or _is_spread(screen, representation):
            return None
        screen, moments = _screen_and_moments(dataset, (context, representation), identity)
        if moments is None:
            return None
        return replicate_halves(screen, representation, alignment=alignment, moments=moments)

    return _shared.get(("halves", *identity, context, representation, alignment), make)


def shared_activity(
    dataset: Dataset, context: str, representation: str, *, alignment: str = "none"
) -> tuple[Activity | None, str]:
    """Activity of every perturbation, judged once a process; None and the reason where it can't be."""
    identity = _identity_of_rows(dataset)

    def make() -> tuple[Activity | None, str]:
        if _is_spread(_screen(dataset, context, identity), representation):
            return None, "activity was not judged: an embedding with one row a perturbation has no replicates"
        screen, moments = _screen_and_moments(dataset, (context, representation), identity)
        if moments is None:
            return None, "activity was not judged: this screen has too many pairs of guide and batch"
        try:
            return measure_activity(screen, representation, alignment=alignment, moments=moments), ""
        except InputError as error:
            return None, str(error)

    return _shared.get(("activity", *identity, context, representation, alignment), make)


def _screen(dataset: Dataset, context: str, identity: Identity) -> Screen:
    """Read a screen of this very state of the files: what is made of one state is never mixed with another's."""

    def make() -> Screen:
        screen = load_screen(dataset, context)
        if _identity_of_rows(dataset) != identity:
            raise _changed(dataset)
        return screen

    return _shared.get(("screen", *identity, context), make)


def _is_spread(screen: Screen, representation: str) -> bool:
    """Whether rows of one perturbation are copies of one row: they agree with each other, which shows nothing."""
    return isinstance(screen.representation(representation).source, SpreadSource)


def _screen_and_moments(
    dataset: Dataset, what: tuple[str, str], identity: Identity
) -> tuple[Screen, ScreenMoments | None]:
    context, representation = what
    screen = _screen(dataset, context, identity)

    source = screen.representation(representation)
    n_units = _shared.get(("units", *identity, context), lambda: label_rows(screen).n_units)
    n_bytes = 8 * n_units * source.n_features
    if n_bytes > MOST_REPLICATE_BYTES:
        return screen, None
    shelf = _shared if n_bytes <= MOST_KEPT_MOMENTS else _large_moments
    key = ("moments", *identity, context, representation)
    return screen, shelf.get(key, lambda: collect_moments(screen, source, medians=True))


def shared_common(left: PerturbationMap, right: PerturbationMap) -> tuple[PerturbationMap, PerturbationMap]:
    """Restrict two maps to the perturbations that both have, once a process.

    Raises
    ------
    InputError
        When fewer than three are shared.
    """
    if left.names is right.names or left.names == right.names:
        return left, right
    key = ("common", left.fingerprint, left.n_perturbations, right.fingerprint, right.n_perturbations)
    return _shared.get(key, lambda: common_maps(left, right))


def shared_part(perturbation_map: PerturbationMap, names: Iterable[str], *, said: str) -> PerturbationMap:
    """Take some perturbations of a map, once a process, and say in the recipe which.

    Parameters
    ----------
    perturbation_map, names
        The map, and perturbations; those that it has not are left out.
    said
        Which perturbations these are, in words.
    """
    wanted = frozenset(names)
    key = ("part", perturbation_map.fingerprint, perturbation_map.n_perturbations, said, wanted)

    def make() -> PerturbationMap:
        recipe = replace(perturbation_map.recipe, filter=f"{perturbation_map.recipe.filter}; {said}")
        return replace(perturbation_map.restricted_to(wanted.intersection(perturbation_map.names)), recipe=recipe)

    return _shared.get(key, make)


def shared_pictures(
    layouts: tuple[Layout, Layout],
    whole: tuple[PerturbationMap, PerturbationMap],
    parts: tuple[PerturbationMap, PerturbationMap],
) -> tuple[Layout, Layout]:
    """Lay two pictures on each other, once a process.

    Parameters
    ----------
    layouts, whole
        The pictures of two maps, and the maps.
    parts
        What is to be shown of the maps: the same perturbations of both.

    Returns
    -------
    tuple
        The pictures of the parts, the right one turned onto the left.
    """

    def make() -> tuple[Layout, Layout]:
        left, right = (
            layout
            if layout_map.names == part.names
            else replace(layout, coordinates=layout.coordinates[[layout_map.position(name) for name in part.names]])
            for layout, layout_map, part in zip(layouts, whole, parts, strict=True)
        )
        return left, replace(right, coordinates=rotate_onto(left.coordinates, right.coordinates))

    return _shared.get(("pictures", *layouts, parts[0].names), make)


def shared_gene_sets_in(dataset: Dataset, names: tuple[str, ...]) -> GeneSetIndex:
    """Look the gene sets beside a dataset up among the perturbations of a map, once a process."""
    key = ("gene sets", *identity_of(dataset), names)
    return _shared.get(key, lambda: index_gene_sets(names, shared_knowledge(dataset).gene_sets))


def shared_layout(dataset: Dataset, perturbation_map: PerturbationMap, *, compute_umap: bool = False) -> Layout:
    """Layout of a map: shipped with the dataset, else UMAP from the cache, else PCA at once.

    Parameters
    ----------
    dataset, perturbation_map
        The map, and the dataset that it comes from.
    compute_umap
        Whether to make the UMAP now where there is none yet; this takes seconds to minutes.
    """
    key = ("layout", *identity_of(dataset), perturbation_map.fingerprint, perturbation_map.n_perturbations)

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


def identity_of(dataset: Dataset) -> Identity:
    """Say what a dataset is on disk at the moment: which versions of which files, and how they are read.

    Every file that the card names takes part, and the files of known relationships beside it: what was made of a
    dataset is never taken for what would be made of it now. A look at each file, and nothing is read.

    Raises
    ------
    InputError
        When the dataset is gone, or the card says something else than when the dataset was opened.
    """
    own = _identity_of_rows(dataset)
    _, _, others = _files_of(dataset)
    return (*own, *(state for path in others for state in state_of(path)))


def require_unchanged(dataset: Dataset, identity: Identity) -> None:
    """Make sure that what was made of a dataset was made of one state of its files.

    Parameters
    ----------
    dataset
        The files.
    identity
        What `identity_of` said before they were read.

    Raises
    ------
    InputError
        When they were changed meanwhile.
    """
    if identity_of(dataset) != identity:
        raise _changed(dataset)


def _changed(dataset: Dataset) -> InputError:
    return InputError(
        f"the files of {dataset.name!r} were changed while they were being read: wait until they are whole, then "
        "open the dataset again (in a browser, reload the page)"
    )


def _identity_of_rows(dataset: Dataset) -> Identity:
    """Take the part of an identity that screens, maps and activity are made of."""
    try:
        card, files, _ = _files_of(dataset)
        now = state_of(card)
        is_same = dataset.opened in (None, now) or now == (None,) or _is_same_card(dataset, now)
    except OSError as error:
        message = f"can't open the dataset {dataset.name!r}: {error.strerror or 'it can not be read'}"
        raise InputError(message) from error
    if now == (None,):
        message = f"the dataset {dataset.name!r} is no longer there: ask who keeps it, or choose another one"
        raise InputError(message)
    if not is_same:
        message = (
            f"the dataset {dataset.name!r} was changed while it was open: open it again (in a browser, reload the page)"
        )
        raise InputError(message)
    states = (state for file in files for state in state_of(file))
    return (str(card), *now, *states, dataset.card.roles, _selections(dataset))


@lru_cache(maxsize=256)
def _selections(dataset: Dataset) -> tuple[Hashable, ...]:
    """Which rows each context has, where a file holds several: a file without a card may be read in several ways."""
    return tuple((name, entry.where) for name, entry in dataset.card.contexts.items() if entry.where)


@lru_cache(maxsize=256)
def _files_of(dataset: Dataset) -> tuple[Path, tuple[Path, ...], tuple[Path, ...]]:
    """List the card (of a single file the file itself), the files of rows, and what is shown beside them.

    The last are the layouts and the folder of known relationships.
    """
    folder = dataset.path.absolute()
    if not (folder / CARD_FILE).is_file():
        return folder, (), ()
    card = dataset.card
    names = [context.rows for context in card.contexts.values()]
    for representation in card.representations.values():
        sources = (representation.source.replace("{context}", context) for context in card.contexts)
        names += [source for source in sources if not is_key(source)]
    # Not resolved: a link inside the folder may be turned to another file.
    files = tuple(folder / name for name in dict.fromkeys(names))
    others = () if card.layouts is None else (folder / card.layouts,)
    if card.relationships is not None and NAME_PATTERN.fullmatch(card.relationships):
        others = (*others, folder.resolve().parent / card.relationships)
    return folder / CARD_FILE, files, others


@lru_cache(maxsize=256)
def _is_same_card(dataset: Dataset, now: State) -> bool:
    """Whether a card whose file was touched still says what the dataset was opened by; asked once for each state."""
    return (dataset.path / CARD_FILE).is_file() and read_card(dataset.path) == dataset.card
