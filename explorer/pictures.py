"""Pictures made ahead: the 2-D layouts of every map of a dataset, in the table that its card names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from explorer.aggregate import PerturbationMap, build_map
from explorer.align import METHODS
from explorer.card import CARD_FILE, NAME_PATTERN, read_card
from explorer.errors import InputError, shown
from explorer.layout import Layout, umap_layout
from explorer.load import load_dataset, load_screen
from explorer.store import write_atomically
from explorer.tables import read_table

# A picture needs no more than one part in ten thousand of its width; fewer digits pack smaller.
STEPS = 10_000
SCHEMA = {
    "recipe": pl.String,
    "context": pl.String,
    "representation": pl.String,
    "alignment": pl.String,
    "perturbation": pl.String,
    "x": pl.Float32,
    "y": pl.Float32,
    "method": pl.String,
    "trustworthiness": pl.Float64,
}


def write_layouts(folder: Path, *, progress: Callable[[str], object] | None = None) -> Path:
    """Lay out every context × representation × alignment with UMAP and write them into one table.

    A picture of a recipe that stands in the file already is kept; remove the file to make all of them anew.

    Parameters
    ----------
    folder
        A dataset folder whose card names a file of layouts, such as ``layouts = "layouts.parquet"``.
    progress
        Is told of each picture, in a line.

    Returns
    -------
    pathlib.Path
        The file, which `explorer.load.load_layout` reads.

    Raises
    ------
    InputError
        When the card names no file of layouts, or a map can't be made.
    """
    name = read_card(folder).layouts
    if name is None or not NAME_PATTERN.fullmatch(name):
        stated = "names no file of layouts" if name is None else f"names the layouts {shown(name)}"
        message = f'{folder.name}/{CARD_FILE} {stated}: write layouts = "layouts.parquet" above its first [table]'
        raise InputError(message)
    path = folder / name
    if not path.exists():
        # A card that names an absent file can't be opened.
        pl.DataFrame(schema=SCHEMA).write_parquet(path)
    dataset = load_dataset(folder)
    ready = read_table(path)
    kept = {str(recipe): lines for (recipe,), lines in ready.partition_by("recipe", as_dict=True).items()}
    tables = []
    for context in dataset.contexts:
        screen = load_screen(dataset, context)
        for representation in screen.representations:
            for alignment in METHODS:
                made = build_map(screen, representation, alignment=alignment)
                if made.fingerprint in kept:
                    columns = (pl.col(name).cast(kind) for name, kind in SCHEMA.items())
                    tables.append(kept[made.fingerprint].select(columns))
                    continue
                layout = umap_layout(made)
                tables.append(_lines(made, layout))
                if progress is not None:
                    progress(f"{context} {representation} {alignment}: {layout.caption}")
    lines = pl.concat(tables)
    write_atomically(path, lambda stream: lines.write_parquet(stream, compression="zstd", compression_level=19))
    return path


def _lines(made: PerturbationMap, layout: Layout) -> pl.DataFrame:
    """Lay a picture into the unit square, one line a perturbation."""
    coordinates = layout.coordinates - np.nanmin(layout.coordinates, axis=0, initial=np.inf)
    width = np.nanmax(coordinates, initial=0.0)
    if width > 0:
        coordinates = (coordinates / width * STEPS).round() / STEPS
    return pl.DataFrame(
        {
            "recipe": made.fingerprint,
            "context": made.recipe.context,
            "representation": made.recipe.representation,
            "alignment": made.recipe.alignment,
            "perturbation": list(made.names),
            "x": coordinates[:, 0],
            "y": coordinates[:, 1],
            "method": layout.method,
            "trustworthiness": layout.trustworthiness,
        },
        schema=SCHEMA,
    )
