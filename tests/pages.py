"""Saved pages for tests: made of a view, read again, and a catalog in which every text is an attack."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import toys

from explorer import side_activity, side_by_side
from explorer.catalog import Catalog
from explorer.portable_view import explore_page
from explorer.side_by_side import Answer
from explorer.view import View

SCRIPT = "window.__pwned=1"
PAYLOADS = (
    f"<img src=x onerror={SCRIPT}>",
    f"</script><script>{SCRIPT}</script>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
    f"<!--<script>{SCRIPT}//",
    f"${{{SCRIPT}}}`;{SCRIPT}//",
    f"'+({SCRIPT})+'",
    f"datum['{SCRIPT}']\\\u2028;{SCRIPT}",
)
VIEW = View(dataset="toy", context="alpha", query="GENE00", left="raw", right="latent", k=4, highlights=("GENE07",))


class Page(HTMLParser):
    """Tags, attributes, tables and texts of a page; what stands in scripts is apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[Mapping[str, str | None], str]] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[tuple[str, Mapping[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        self._open.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.scripts.append((attributes, data))
        elif tag != "style":
            self.texts.append(data)
            if tag in ("td", "th"):
                self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        """All that a reader can read, charts and maps aside."""
        return " ".join(self.texts)

    @property
    def policy(self) -> str:
        """Content security policy of the page."""
        return next(value for name, value in self.attributes if value and value.startswith("default-src"))

    def block(self, name: str) -> Any:
        """Data of one block; None where there is none."""
        return next((json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name), None)

    def table(self, *header: str) -> list[list[str]]:
        """Lines of the table whose header begins like this."""
        return next(table[1:] for table in self.tables if table[0][: len(header)] == list(header))


def unpacked(value: Mapping[str, str], kind: str) -> np.ndarray:
    """Numbers of a packed array."""
    return np.frombuffer(base64.b64decode(value["bytes"]), dtype=kind)


def parts_of(catalog: Catalog, answer: Answer) -> dict[str, Any]:
    """What the notebook hands to the page, by name."""
    view, pair, comparison = answer.view, answer.pair, answer.comparison
    return {
        "comparison": comparison,
        "table": side_by_side.table_of(catalog, view, comparison),
        "gene_sets": side_by_side.shared_gene_sets(catalog, view, comparison),
        "activity": side_activity.activity_of(catalog, view),
        "distribution": side_by_side.distribution_of(view, pair),
        "yardsticks": side_by_side.yardsticks(catalog, view, pair),
    }


def saved_view(catalog: Catalog, view: View = VIEW, **options: Any) -> str:
    """Save a view as a page."""
    answer = side_by_side.answer_view(catalog, view)
    return explore_page(catalog, answer.view, answer.pair, **parts_of(catalog, answer), **options)


def write_hostile(root: Path, *, n_names: int = 15) -> Path:
    """Write a catalog in which every text that can be one is an attack."""
    names = (*PAYLOADS, *(f"G{number:03}" for number in range(n_names)))
    everything = " ".join(PAYLOADS)
    changes: dict[str, Any] = dict.fromkeys(("title", "license", "citation", "description", "provenance"), everything)
    changes |= {"roles/perturbation": PAYLOADS[0], "defaults/query": PAYLOADS[0], "defaults/align": "none"}
    changes |= {f"contexts/alpha/{key}": everything for key in ("cell_system", "technique", "outcome", "features")}
    for name in toys.REPRESENTATIONS:
        changes |= {f"representations/{name}/{key}": everything for key in ("description", "trained")}
    changes |= {"cautions": [{"perturbations": list(PAYLOADS), "text": everything}]}
    known: dict[str, Any] = {"title": everything, "description": everything}
    for table, name in (("relationships", "Pairs"), ("gene_sets", "Sets")):
        known |= {f"{table}/{name}/{key}": everything for key in ("license", "citation")}
    sets = {payload: names[: 4 + place] for place, payload in enumerate(PAYLOADS)}
    return toys.write_catalog(root, changes, names=names, sets=sets, known=known)
