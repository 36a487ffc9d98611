"""2-D layouts of every map of the demo, made ahead with the package itself: for display only.

Called by ``make.py``; alone it remakes the layouts of the files that are there::

    python demo_data/depmap/layouts.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl

from explorer import ALIGNMENTS, build_map, load_dataset, load_screen, umap_layout

FILE = "layouts.parquet"
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


def write_layouts(folder: Path) -> None:
    """Lay out every context × representation × alignment with UMAP and write them into one table.

    Parameters
    ----------
    folder
        A dataset folder; the file of layouts that its card names is written anew.
    """
    if not (folder / FILE).exists():
        # The card names the file, and a card that names an absent file can't be opened.
        pl.DataFrame(schema=SCHEMA).write_parquet(folder / FILE)
    dataset = load_dataset(folder)
    tables = []
    for context in dataset.contexts:
        screen = load_screen(dataset, context)
        for representation in screen.representations:
            for alignment in ALIGNMENTS:
                started = time.monotonic()
                made = build_map(screen, representation, alignment=alignment)
                layout = umap_layout(made)
                coordinates = layout.coordinates - layout.coordinates.min(axis=0)
                coordinates = (coordinates / coordinates.max() * STEPS).round() / STEPS
                tables.append(
                    pl.DataFrame(
                        {
                            "recipe": made.fingerprint,
                            "context": context,
                            "representation": representation,
                            "alignment": alignment,
                            "perturbation": list(made.names),
                            "x": coordinates[:, 0],
                            "y": coordinates[:, 1],
                            "method": layout.method,
                            "trustworthiness": layout.trustworthiness,
                        },
                        schema=SCHEMA,
                    )
                )
                seconds = time.monotonic() - started
                sys.stderr.write(
                    f"{context} {representation} {alignment}: {layout.trustworthiness:.3f}, {seconds:.0f} s\n"
                )
    pl.concat(tables).write_parquet(folder / FILE, compression="zstd", compression_level=19)


if __name__ == "__main__":
    write_layouts(Path(__file__).parent)
