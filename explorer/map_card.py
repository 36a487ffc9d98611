"""The map card: one page that says what was judged, how, and with what result; it works offline and runs nothing."""

from __future__ import annotations

import shlex

import polars as pl

from explorer.catalog import Catalog
from explorer.digits import brief, number, percent, signed, small
from explorer.judge_charts import KIND_COLORS, round_ticks
from explorer.judged import Judged, forest_table, judge_link, recipes_judged
from explorer.page import HOUSE_STYLE, bullets, definitions, document, html_table, made_with
from explorer.text import fill, plain_text
from explorer.wording_judge import (
    HITS_NOTE,
    about_rows,
    conditions_line,
    declared_sentence,
    disagreement_sentence,
    evidence,
    head,
    hits_sentence,
    largest_sentence,
    meaning_sentence,
    tone,
    verdict_sentence,
)

_DRAWING_STYLE = """svg { width: 100%; height: auto; display: block; margin: .5rem 0; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .faint { fill: var(--faint); }
svg .axis { stroke: var(--faint); } svg .grid { stroke: var(--line); }
"""
# Whose page it is may have the data anywhere: a path of this machine would help nobody, and say too much.
CATALOG = "CATALOG"
CATALOG_NOTE = "the folder in which this dataset lies, in place of which you write where you have it"
# What is long and stands in the dataset's own card.
_LEFT_OUT = ("Description", "Provenance")
# The drawing: width of the names, of the plot and of the figures, and height of a line.
_NAMES, _PLOT, _FIGURES, _LINE = 330, 290, 190, 22
_LONGEST = 52


def map_card(catalog: Catalog, judged: Judged) -> str:
    """Write a judgement as one page of HTML.

    Parameters
    ----------
    catalog
        The datasets on offer.
    judged
        The view and its judgement.

    Returns
    -------
    str
        A whole document without script, image, font or link to load; a policy in it forbids all of them. Every text
        from data is escaped. Equal judgements give equal pages.
    """
    found, view = judged.judgement, judged.view
    sections = [
        fill("<h1>Map card · {title}</h1>", title=catalog.dataset(view.dataset).card.title),
        fill("<p class='word {tone}'>{word}</p>", tone=tone(found), word=head(judged)),
        fill("<p class='said'>{text}</p>", text=verdict_sentence(found, view)),
        fill("<p>{text}</p>", text=meaning_sentence(found)),
        fill("<p class='faint'>{text}</p>", text=declared_sentence(judged)),
        fill("<p class='faint'>{text}</p>", text=conditions_line(catalog, view)),
        "<h2>What it rests on</h2>",
        bullets(fill("<b>{word}.</b> {text}", word=word, text=text) for word, text in evidence(found)),
    ]
    if found.verdict != "locked":
        sections += [
            "<h2>Every difference, with its 95 % interval</h2>",
            forest_svg(forest_table(found)),
            "<p class='faint'>Mean over groups of known partners; intervals from random signs of the groups, "
            "symmetric by construction, so that they may pass 1. The topmost line decides, and every placebo must be "
            "beaten.</p>",
            "<h2>By source</h2>",
            _source_rows(judged),
        ]
    if found.known_hits is not None:
        said = (hits_sentence(found.known_hits), largest_sentence(found.known_hits), disagreement_sentence(found))
        sections += ["<h2>At the budget</h2>", *(fill("<p>{text}</p>", text=text) for text in said if text)]
        sections.append(fill("<p class='faint'>{text}</p>", text=HITS_NOTE))
    sections += [
        "<h2>Data, recipes and licences</h2>",
        definitions(row for row in about_rows(catalog, judged) if row[0] not in _LEFT_OUT),
        "<h2>To make it again</h2>",
        fill("<p><code>{command}</code></p>", command=command_line(catalog, judged)),
        definitions([(CATALOG, CATALOG_NOTE), *again_rows(judged)]),
    ]
    title = f"{head(judged)}: {view.learned} against {view.simple}, {view.dataset}, {view.context}"
    return document(title, sections, style=HOUSE_STYLE + _DRAWING_STYLE)


def forest_svg(frame: pl.DataFrame) -> str:
    """Draw differences and their intervals as SVG, names and figures as text.

    Parameters
    ----------
    frame
        As `explorer.judged.forest_table` gives it.
    """
    lines = frame.drop_nulls(["estimate", "low", "high"]).drop_nans(["estimate", "low", "high"])
    values = [0.0, *lines["low"].to_list(), *lines["high"].to_list()]
    low, high = min(values), max(values)
    span = max(high - low, 1e-9)

    def place(value: float) -> float:
        return round(float(_NAMES + 8 + (_PLOT - 16) * (value - low) / span), 1)

    ticks = round_ticks(low, high)

    height = _LINE * lines.height + 34
    bottom = _LINE * lines.height + 8
    parts = [
        f'<svg viewBox="0 0 {_NAMES + _PLOT + _FIGURES} {height}" role="img" aria-label="differences and intervals">',
        f'<line class="axis" x1="{place(0)}" x2="{place(0)}" y1="4" y2="{bottom}"/>',
        f'<line class="grid" x1="{_NAMES}" x2="{_NAMES + _PLOT}" y1="{bottom}" y2="{bottom}"/>',
    ]
    for number_of, row in enumerate(lines.iter_rows(named=True)):
        y = _LINE * number_of + 16
        color = KIND_COLORS[row["kind"]]
        label = row["label"] if len(row["label"]) <= _LONGEST else f"{row['label'][: _LONGEST - 1]}…"
        figures = f"{signed(row['estimate'])} ({signed(row['low'])} … {signed(row['high'])})"
        parts += [
            f'<text x="{_NAMES - 10}" y="{y + 4}" text-anchor="end">{plain_text(label)}</text>',
            f'<line x1="{place(row["low"])}" x2="{place(row["high"])}" y1="{y}" y2="{y}" stroke="{color}" '
            'stroke-width="2.5"/>',
            f'<circle cx="{place(row["estimate"])}" cy="{y}" r="4.5" fill="{color}"/>',
            f'<text class="faint" x="{_NAMES + _PLOT + _FIGURES - 2}" y="{y + 4}" text-anchor="end">'
            f"{plain_text(figures)}</text>",
        ]
    parts += [
        f'<text class="faint" x="{place(tick)}" y="{height - 8}" text-anchor="middle">{plain_text(_tick(tick))}</text>'
        for tick in ticks
    ]
    return "\n".join([*parts, "</svg>"])


def command_line(catalog: Catalog, judged: Judged) -> str:
    """Write the command that makes a judgement again; `CATALOG` in it is the folder that holds the data."""
    found, view = judged.judgement, judged.view
    options = [
        ("--simple", view.simple), ("--learned", view.learned), ("--context", view.context), ("--align", view.align),
        *(("--source", name) for name in view.sources), ("-k", str(view.k)), ("--budget", str(view.budget)),
        ("--seed", str(found.seed)),
    ]  # fmt: skip
    # An option and its value are one word each, whatever the value begins with.
    words = ["explorer", "judge", f"{CATALOG}/{catalog.dataset(view.dataset).path.name}"]
    words += [f"{name}={value}" if name.startswith("--") else f"{name}{value}" for name, value in options]
    return shlex.join(words)


def _tick(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{brief(abs(value))}"


def _source_rows(judged: Judged) -> str:
    found = judged.judgement
    header = ("source", "pairs", "groups", f"recall, {found.simple}", f"recall, {found.learned}",
              "matched pairs", "difference in partner recall", "q")  # fmt: skip
    rows = [
        (
            source.source,
            f"{source.n_pairs:,}",
            f"{source.n_groups:,}",
            number(source.simple.both),
            number(source.learned.both),
            f"{number(source.simple_matched.both)}, {number(source.learned_matched.both)}",
            f"{signed(source.test.estimate)} ({signed(source.test.low)} … {signed(source.test.high)})",
            small(source.q),
        )
        for source in found.sources
    ]
    return html_table(header, rows) + fill(
        "<p class='faint'>Recall: share of known pairs in the highest 5 % and the lowest 5 % of all cosines, by chance "
        "{chance}; matched: random pairs as strong and as well annotated, in the simple and in the learned map.</p>",
        chance=percent(found.sources[0].simple.chance) if found.sources else "not defined",
    )


def again_rows(judged: Judged) -> list[tuple[str, str]]:
    """List what it takes to make a judgement again: link, seed, fingerprints and versions."""
    found = judged.judgement
    link = judge_link(judged.view, recipes=recipes_judged(found))
    return [
        *((name, value) for name, value in link.items()),
        ("seed", str(found.seed)),
        ("perturbations", f"{found.n_perturbations:,}"),
        ("simple fingerprint", found.fingerprints["simple"]),
        ("learned fingerprint", found.fingerprints["learned"]),
        ("versions", made_with()),
    ]
