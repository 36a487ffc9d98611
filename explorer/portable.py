"""One page that holds a whole view and opens without a server: sentences, tables, charts and maps that still answer.

Everything is inside the file: Vega once for all charts, each chart's data once, our own scripts. The page's policy
names the digest of each script and forbids everything else, ``eval`` and every connection included.
"""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.digits import plain
from explorer.page import HOUSE_STYLE, bullets, definitions, document
from explorer.portable_parts import Drawing, Facts, Heading, Maps, Points, Rows, Said, Section
from explorer.text import fill, plain_text, script_json

CHART_NOTE = (
    "Figures: point at a mark to read it; Ctrl and the wheel (or two fingers) zoom along axes of numbers, a drag "
    "moves, a double click shows all again. A click on the head of a table sorts it."
)
# Rows of a table that stand on the page in full; of more, it says so and scrolls.
MOST_ROWS_IN_FULL = 60
# No line breaks within texts of a column of which none is longer.
_SHORT = 16
_MAPS = (
    "<div id='maps'></div>\n<div id='selected' hidden><h3 class='count'></h3><div class='rows'><table class='sortable'>"
    "<thead><tr><th>perturbation</th><th class='number'>left rank</th><th class='number'>right rank</th></tr></thead>"
    "<tbody></tbody></table></div></div>"
)


def portable_page(title: str, sections: Sequence[Section], *, above: str, word: str, tone: str = "") -> str:
    """Write sections as one page of HTML that works offline.

    Parameters
    ----------
    title
        Title of the window.
    sections
        What it shows, in order, one pair of maps at most; every text may come from data, and is shown as the text it
        is.
    above, word
        Small heading and large one.
    tone
        Colour of the large one: ``success``, ``neutral``, ``danger``, ``warn`` or none.

    Returns
    -------
    str
        A document of about 1 MB with charts (Vega is .9 MB of it, once), 70 kB and the points with maps alone.
    """
    charts: dict[str, Any] = {}
    maps = next((part for section in sections for part in section.parts if isinstance(part, Maps)), None)
    body = [fill("<h1>{above}</h1>", above=above), fill("<p class='word {tone}'>{word}</p>", tone=tone, word=word)]
    for section in sections:
        if section.heading:
            body.append(fill("<h2>{heading}</h2>", heading=section.heading))
        for part in section.parts:
            if isinstance(part, Drawing):
                name = f"chart-{len(charts)}"
                charts[name] = _specification(part)
                body.append(_figure(name, part.label))
            elif isinstance(part, Maps):
                body.append(_MAPS)
            else:
                body.append(_written(part))
    if charts:
        body.append(_block("charts", charts))
    if maps:
        body.append(_block("maps-data", _maps_data(maps)))
    return document(
        title,
        body,
        style=HOUSE_STYLE + _ours("portable.css"),
        scripts=[_vega()] if charts else [],
        modules=[*([_maps_module()] if maps else []), _ours("portable.js")],
    )


def _written(part: Said | Points | Facts | Heading | Rows) -> str:
    if isinstance(part, Said):
        return fill("<p class='{kind}'>{text}</p>", kind=part.kind, text=part.text) if part.text else ""
    if isinstance(part, Heading):
        return fill("<h3>{text}</h3>", text=part.text)
    if isinstance(part, Facts):
        return definitions(part.rows)
    if isinstance(part, Points):
        return bullets(
            fill("<b>{word}.</b> {text}" if word else "{text}", word=word, text=text) for word, text in part.items
        )
    return _sortable(part)


def _sortable(rows: Rows) -> str:
    frame = rows.frame
    formats = [rows.formats.get(name, "{:,}" if kind.is_integer() else "{:.3g}") for name, kind in frame.schema.items()]
    texts = [[_cell(value, pattern) for value, pattern in zip(row, formats, strict=True)] for row in frame.iter_rows()]
    classes = [
        "number" if kind.is_numeric() else "text short" if max(map(len, column), default=0) <= _SHORT else "text"
        for kind, column in zip(frame.dtypes, zip(*texts, strict=True) if texts else [()] * frame.width, strict=True)
    ]
    top = "".join(
        fill("<th class='{kind}'>{name}</th>", kind=kind, name=name)
        for kind, name in zip(classes, frame.columns, strict=True)
    )
    opening = [f"<td class='{kind}'>" for kind in classes]
    lines = (
        "".join(f"{start}{plain_text(text)}</td>" for start, text in zip(opening, row, strict=True)) for row in texts
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    is_long = frame.height > MOST_ROWS_IN_FULL
    note = f"<p class='faint scroll'>{frame.height:,} rows: scroll within the table</p>\n" if is_long else ""
    return (
        f"{note}<div class='rows{' scrolled' if is_long else ''}' tabindex='0'><table class='sortable'>\n"
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: object, pattern: str) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(pattern.format(value)) if isinstance(value, int | float) else str(value)


def _figure(name: str, label: str) -> str:
    return fill(
        "<div class='chart'><div id='{name}' role='figure' aria-label='{label}'></div></div>", name=name, label=label
    )


def _block(name: str, value: object) -> str:
    return f'<script type="application/json" id="{name}">{script_json(value)}</script>'


def _maps_data(maps: Maps) -> dict[str, Any]:
    left, right = ({"name": name, "ranks": _bytes(ranks.astype("<u4").tobytes())} for name, ranks in maps.sides)
    state = {name: _bytes(value) if isinstance(value, bytes) else value for name, value in maps.state.items()}
    return {"state": state, "left": left, "right": right}


def _bytes(value: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(value).decode("ascii")}


def _specification(drawing: Drawing) -> dict[str, Any]:
    """Write a chart as Vega-Lite, with the zoom that it may have."""
    import altair as alt

    chart = drawing.chart
    if drawing.zoom:
        # The wheel alone belongs to the page.
        zoom = alt.selection_interval(
            bind="scales", encodings=list(drawing.zoom), zoom="wheel![event.ctrlKey || event.metaKey]"
        )
        chart = chart.add_params(zoom)
    made: dict[str, Any] = chart.to_dict()
    return made


def _maps_module() -> str:
    # A page without maps needs no widget library.
    from explorer.panels import maps_script

    return f"{maps_script()}\n{_ours('portable_maps.js')}"


@functools.cache
def _vega() -> str:
    """Give Vega, Vega-Lite and Vega-Embed as one script; it takes a second to pack."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _ours(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
