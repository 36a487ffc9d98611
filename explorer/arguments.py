"""Arguments that commands share: where the data is, its roles, what is known, which maps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from explorer.card import CARD_FILE
from explorer.catalog import Catalog, open_catalog
from explorer.errors import InputError, listed, unknown_name
from explorer.load import Dataset, load_dataset
from explorer.view import default_sides


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others."""

    def error(self, message: str) -> Any:
        """Refuse what can't be read."""
        msg = f"{message} (see {self.prog} --help)"
        raise InputError(msg)


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add where the data is, and the roles of its columns."""
    parser.add_argument("path", metavar="PATH", type=Path, help="a dataset folder, or an h5ad, zarr or table file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    roles = parser.add_argument_group("roles of columns (found by the usual names where not given)")
    roles.add_argument("--perturbation", metavar="COL", help="column of the perturbation")
    roles.add_argument("--control", metavar="LABEL", action="append", help="label of the controls; may be repeated")
    roles.add_argument("--batch", metavar="COL", help="column of the batch")
    roles.add_argument("--guide", metavar="COL", help="column of the guide")
    roles.add_argument("--context-column", metavar="COL", help="of a single file: column whose values are its contexts")


def add_relationships(parser: argparse.ArgumentParser, what_for: str) -> None:
    """Add files of known pairs, and say what for."""
    parser.add_argument(
        "--relationships",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE",
        help="known pairs (a table; a column called complex, pathway, group … names their groups) or sets (GMT) "
        f"{what_for}",
    )


def roles_of(options: argparse.Namespace) -> dict[str, Any]:
    """Read the roles of columns as `explorer.load.load_dataset` takes them."""
    return {
        "perturbation": options.perturbation,
        "control": tuple(options.control) if options.control else None,
        "batch": options.batch,
        "guide": options.guide,
    }


def catalog_of(options: argparse.Namespace) -> Catalog:
    """Open a folder of datasets; a dataset or a file is a catalog of one, with the roles given by options."""
    path: Path = options.path
    if path.is_dir() and not (path / CARD_FILE).is_file() and path.suffix != ".zarr":
        return open_catalog(path)
    dataset = load_dataset(path, roles=roles_of(options), context_column=options.context_column)
    return Catalog({dataset.name: dataset})


def dataset_and_context(catalog: Catalog, text: str | None) -> tuple[Dataset, str]:
    """Read ``CONTEXT`` or ``DATASET/CONTEXT``; of a catalog of several datasets the second is needed."""
    name, slash, context = (text or "").rpartition("/")
    if not slash and len(catalog.names) > 1:
        message = (
            f"there are {len(catalog.names)} datasets, {listed(catalog.names)}: say which with "
            "--context=DATASET/CONTEXT"
        )
        raise InputError(message)
    dataset = catalog.dataset(name if slash else catalog.names[0])
    return dataset, dataset.context(context or None)


def sides(options: argparse.Namespace, dataset: Dataset) -> tuple[str, str]:
    """Take the card's two sides where they are not named."""
    usual = default_sides(dataset)
    chosen = (options.simple or usual[0], options.learned or usual[1])
    for name in (*chosen, *filter(None, [options.representation])):
        if name not in dataset.card.representations:
            msg = "representation"
            raise unknown_name(msg, name, dataset.card.representations)
    return chosen


def default_notes(options: argparse.Namespace, alignment: str) -> list[str]:
    """Say which alignment was taken where none was asked for."""
    if options.align is not None:
        return []
    return [f"all maps have the alignment {alignment!r}, the default here; --align chooses another one"]
