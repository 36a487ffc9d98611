"""What a view says in plain sentences: every number with its null, its units and its direction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from urllib.parse import urlencode

import polars as pl

from explorer.activity import ACTIVE_Q
from explorer.catalog import Catalog, shared_knowledge
from explorer.compare import ONLY_LEFT, ONLY_RIGHT, Comparison, OverlapDistribution, known_counts
from explorer.digits import counted
from explorer.passport import passport_of
from explorer.side_activity import CONSISTENCY, MAGNITUDE, PRECISION, SideActivity, activity_table
from explorer.side_by_side import GENE_SET_Q, Pair, Yardstick, other_contexts, silences_elsewhere
from explorer.text import file_name
from explorer.view import View

MOST_NAMED = 3
# Columns of positions on a plate go by such names.
_POSITION = re.compile("well|position|row|col", re.IGNORECASE)
# Pixels, so that a table with a context or two fits the page.
COLUMN_WIDTHS = {
    "left rank": 85, "right rank": 90, "left similarity": 120, "right similarity": 125, "known": 170, "active": 75,
}  # fmt: skip
# By verdict, and by whether it rests on the size of the effect alone.
_ACTIVITY = {
    ("not active", False): "{query} is not distinguishable from controls in {where}: its neighbours there are likely "
    "to mean nothing.",
    (
        "not active",
        True,
    ): "By the size of its effect {query} is not distinguishable from controls in {where}; there are "
    "no replicates to ask whether it repeats.",
    ("borderline", False): "{query} stands out from controls only weakly in {where}.",
    ("borderline", True): "By the size of its effect {query} stands out from controls only weakly in {where}.",
    ("active", False): "{query} is active in {where}.",
    ("active", True): "{query} is active, by the size of its effect, in {where}.",
}
_MEASURES = {
    CONSISTENCY: "Consistency: mean cosine of replicates from different batches.",
    MAGNITUDE: "Size: length of the profile, in units of the alignment.",
    PRECISION: "Average precision: how well replicates find each other among controls (above chance, 0 is chance and "
    "1 perfect); p is blank where a batch has fewer than four such controls for each replicate.",
}


def summary_sentence(comparison: Comparison) -> str:
    """Say in one plain sentence how many neighbours both sides find, with chance beside it."""
    # With ties at the last place the shared number is an expectation, not a count of names.
    scores = comparison.agreement
    if math.isnan(scores.overlap):
        return f"{comparison.query}: fewer than {comparison.k} perturbations have a profile on both sides to compare."
    shared = comparison.k * scores.overlap
    return (
        f"{comparison.query}: {shared:.3g} of {comparison.k} "
        f"{'opposites' if comparison.opposite else 'neighbours'} are the same on both sides "
        f"(by chance {comparison.k * scores.chance:.2g} of {comparison.k})."
    )


def activity_sentence(query: str, sides: Sequence[SideActivity]) -> str:
    """Say whether the query can be told from controls at all, before any neighbour is shown."""
    every = {side.representation: side for side in sides}.values()
    parts: dict[tuple[str, bool], list[str]] = {}
    for side in every:
        if side.verdict != "not judged":
            parts.setdefault((side.verdict, side.by_size), []).append(f"{side.representation} ({_basis(side)})")
    if not parts:
        reason = next((side.silence for side in every if side.silence), "its profile has no direction")
        return f"Whether {query} does anything was not judged: {reason.rstrip('.?')}."
    # What casts doubt comes first.
    said = [
        template.format(query=query, where=" and ".join(parts[key]))
        for key, template in _ACTIVITY.items()
        if key in parts
    ]
    return " ".join(said)


def position_sentences(sides: Sequence[SideActivity]) -> list[str]:
    """Say where the position alone could be what the query's replicates have in common, a sentence for each column."""
    told: dict[tuple[str, str], list[str]] = {}
    for side in {side.representation: side for side in sides}.values():
        if side.found is None or not side.found.shared_position:
            continue
        columns = side.found.shared_position.split(", ")
        for position in side.position:
            # A gene has one chromosome arm by nature; a perturbation has one well because somebody put it there.
            is_layout = not math.isnan(position.score) or _POSITION.search(position.column) is not None
            if position.column in columns and is_layout:
                own = side.found.mean_average_precision
                replicates = "" if math.isnan(own) else f" (its own replicates find each other with {own:.2f})"
                told.setdefault((side.found.perturbation, position.column), []).append(
                    f"in {side.representation} no control repeats its position, so nothing tells them apart"
                    if math.isnan(position.score)
                    else f"in {side.representation} position alone scores {position.score:.2f}, the average precision "
                    f"with which controls find their own position (by chance {position.chance:.2f}, p "
                    f"{_small(position.p)}){replicates}"
                )
    return [
        f"all rows of {query} have the same {column}, so what they share may be position and not effect: "
        + "; ".join(parts)
        for (query, column), parts in told.items()
    ]


def activity_lines(sides: tuple[SideActivity, SideActivity]) -> pl.DataFrame:
    """Write the table of activity out for the page: an undefined number is blank."""
    table = activity_table(sides)
    written = [
        pl.Series(name, ["" if number is None else f"{number:.{digits}g}" for number in table[name]], dtype=pl.String)
        for name, digits in (("value", 3), ("p", 2), ("q", 2))
    ]
    return table.with_columns(*written, pl.col("verdict").fill_null(""))


def activity_note(sides: tuple[SideActivity, SideActivity]) -> str:
    """Explain the measures that the table of activity holds, and what is to be known of them."""
    notes = dict.fromkeys(f"{note[:1].upper()}{note[1:].rstrip('.')}." for side in sides for note in side.notes)
    count = max((side.n_perturbations for side in sides), default=0)
    held = set(activity_table(sides)["measure"].to_list())
    said = [text for measure, text in _MEASURES.items() if measure in held]
    if CONSISTENCY not in held:
        said.append("Consistency is not defined: no two replicates lie in different batches.")
    return " ".join(
        [
            *said,
            "p is against as many rows drawn at random from controls that fitted no alignment; q is corrected over "
            f"the {counted(count, 'perturbation')} of the representation (active: q below {ACTIVE_Q:g}).",
            *notes,
        ]
    )


def answer_sentences(catalog: Catalog, view: View, comparison: Comparison) -> tuple[str, str]:
    """Say in two plain sentences how far the sides agree, and how many known partners each finds."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    ranking = comparison.left_ranking
    every = sorted(knowledge.partners_of(view.query) - {view.query})
    partners = {name for name, row in zip(every, ranking.rows_of(every), strict=True) if row >= 0}
    agree = summary_sentence(comparison)
    if not knowledge.relationships:
        return agree, "No known relationships stand beside this dataset."
    if not partners:
        return (
            agree,
            f"No partner of {view.query} is known in {', '.join(source.name for source in knowledge.relationships)}.",
        )
    left, right = known_counts(comparison, partners)
    expected = view.k * len(partners) / (len(ranking.names) - 1)
    return agree, (
        f"Known partners among them: {left} of {view.k} in {view.left}, {right} of {view.k} in {view.right} "
        f"(by chance {expected:.2g}; {len(partners)} known in this map). Not known is not false."
    )


def difference_sentence(comparison: Comparison, view: View) -> str:
    """Name what only one side finds, and where the other side has it: a near miss is no discovery."""
    parts = []
    for side, name, other in (
        (ONLY_RIGHT, view.right, comparison.left_ranking),
        (ONLY_LEFT, view.left, comparison.right_ranking),
    ):
        names = [found for found, where in comparison.sides.items() if where == side]
        ranks = other.ranks_of(other.rows_of(names[:MOST_NAMED]))
        listed = [
            f"{found} ({'no profile' if math.isnan(rank) else f'{rank:.0f}'})"
            for found, rank in zip(names, ranks, strict=False)
        ]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        if listed and view.left != view.right:
            parts.append(f"Only in {name}, with the rank on the other side: {', '.join(listed)}{more}.")
    return " ".join(parts)


def context_sentence(catalog: Catalog, view: View) -> str:
    """State the conditions that all of it hangs on."""
    dataset = catalog.dataset(view.dataset)
    assumed = f" Assumed: {'; '.join(dataset.notes)}." if dataset.notes else ""
    passport = passport_of(dataset, view.context)
    return f"{dataset.card.title}. Context {view.context}: {passport.sentence}.{assumed}"


def agreement_details(comparison: Comparison, distribution: OverlapDistribution) -> str:
    """Give every number of the agreement with its null, its units and its direction."""
    scores = comparison.agreement
    drawn = counted(len(distribution.queries), "random perturbation")
    whom = "every perturbation" if distribution.seed is None else drawn
    which = "most opposite" if comparison.opposite else "nearest"
    return (
        f"Overlap of the {scores.k} {which}: {_defined(scores.overlap)} "
        f"(chance {scores.chance:.4f}; 1 is equal), "
        f"κ {_defined(scores.kappa)}, "
        f"rank-biased overlap {_defined(scores.rank_biased_overlap)} (p 0.9; chance "
        f"{scores.rank_biased_chance:.4f}; 0 disjoint, 1 equal), "
        f"among {scores.n_perturbations:,} perturbations. The mean over {whom} is {_defined(distribution.mean)}; "
        f"{_share(distribution.share_below(scores.overlap))} agree less than {comparison.query} "
        "(equal ones counted half)."
    )


def column_widths(columns: Sequence[str]) -> dict[str, int]:
    """Say how wide the columns of a table of neighbours are, in pixels."""
    return {name: 150 if _is_elsewhere(name) else COLUMN_WIDTHS.get(name, 115) for name in columns}


def wrapped_columns(columns: Sequence[str]) -> list[str]:
    """Name the columns of a table of neighbours whose texts may take two lines."""
    return [name for name in columns if _is_elsewhere(name)]


def _is_elsewhere(column: str) -> bool:
    return column.startswith("in ")


def elsewhere_note(catalog: Catalog, view: View) -> str:
    """Say what the table's columns of other contexts mean, and what they can't say; empty with one context."""
    contexts = other_contexts(catalog, view)
    if not contexts:
        return ""
    said = silences_elsewhere(catalog, view)
    silent = " ".join(f"{context}: {text.rstrip('.')}." for context, text in said.items())
    return (
        f"In {' and '.join(contexts)}: ● the edge to {view.query} holds there (mutual rank against matched decoys, "
        "q ≤ .1), ○ it is not seen, ◌ a partner is not active there, – it can't be judged. What is judged are the ten "
        "nearest of this context by centred cosine; a neighbour that is none of these can't be. "
        f"{silent}"
    ).strip()


def yardstick_sentence(found: list[Yardstick], comparison: Comparison) -> str:
    """Hold the agreement against what agrees anyway: replicate halves and seeds."""
    if not found:
        return (
            "No yardstick: there are neither replicates nor a further seed of these representations that could be "
            "compared, so it can't be said how much of the disagreement is noise."
        )
    parts = [
        f"{yardstick.what}: {_defined(yardstick.query_overlap)} for {comparison.query}, "
        f"{_defined(yardstick.mean_overlap)} on average"
        for yardstick in found
    ]
    overlap = comparison.agreement.overlap
    noise = any(overlap >= yardstick.query_overlap for yardstick in found)
    verdict = (
        f"For {comparison.query} left and right agree as much ({_defined(overlap)}): where they differ may be noise."
        if noise
        else f"For {comparison.query} left and right agree less ({_defined(overlap)})."
    )
    return (
        f"What agrees anyway: {'; '.join(parts)}. {verdict} "
        "A neighbour that changes with the seed or the replicates is no finding."
    )


def gene_set_sentence(table: pl.DataFrame, view: View, *, catalog: Catalog) -> str:
    """Read the best gene set of each side out loud, or say why there is none.

    Parameters
    ----------
    table
        As `explorer.side_by_side.shared_gene_sets` gives it.
    view, catalog
        The view, and the datasets on offer.
    """
    if not shared_knowledge(catalog.dataset(view.dataset)).gene_sets:
        return "No gene sets stand beside this dataset, so what the neighbours have in common can't be said."
    if not table.height:
        return "No gene set holds more of either neighbourhood than chance explains (q ≤ 0.05)."
    parts = []
    for side, name in (("left", view.left), ("right", view.right)):
        best = table.filter(pl.col(f"{side} q") <= GENE_SET_Q).sort(f"{side} q").head(1)
        parts.append(
            f"{name}: {best['gene set'][0]}, {best[side][0]} (q {best[f'{side} q'][0]:.1g})"
            if best.height
            else f"{name}: none at q ≤ 0.05"
        )
    return (
        f"{'; '.join(parts)}. Hypergeometric test over the perturbations of this map, Benjamini-Hochberg over all sets "
        "with 3 to 500 members in it. Neighbours resemble each other, which the test does not know: where one axis "
        "rules the map, q is too small."
    )


def picture_caption(pair: Pair) -> str:
    """Say what the pictures are, and that no neighbour is read off them."""
    left, right = pair.layouts
    return (
        f"Neighbours are found in the native space ({counted(pair.left.profiles.shape[1], 'feature')} left, "
        f"{pair.right.profiles.shape[1]:,} right), never in these pictures. "
        f"Left: {left.caption}; right: {right.caption}, turned onto the left one. "
        "1 would keep every neighbour, about 0.5 is random."
    )


def about_rows(catalog: Catalog, view: View, pair: Pair) -> list[tuple[str, str]]:
    """List what the dataset's card and both recipes say, as pairs of a heading and a text."""
    dataset = catalog.dataset(view.dataset)
    card, knowledge = dataset.card, shared_knowledge(dataset)
    rows = [
        ("Dataset", card.title),
        ("Description", card.description),
        ("Licence", card.license),
        ("Citation", card.citation),
        ("Provenance", card.provenance),
        ("Context", f"{view.context}: {passport_of(dataset, view.context).sentence}"),
        ("Assumed", "; ".join(dataset.notes)),
    ]
    for side, made in (("Left", pair.left), ("Right", pair.right)):
        entry = card.representations[made.recipe.representation]
        rows += [
            (f"{side} representation", f"{entry.name} ({entry.kind}): {entry.description}"),
            (f"{side}: how it was trained", entry.trained),
            (f"{side} recipe", f"{made.recipe.sentence}. {' '.join(made.recipe.notes)}".strip()),
            (f"{side} source digest", made.recipe.source),
        ]
    rows += [(f"Known: {name}", licence) for name, licence in knowledge.licences.items()]
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def example_links(catalog: Catalog, view: View) -> list[tuple[str, str, str]]:
    """List the card's examples: a label, the link that shows it, and what there is to see."""
    examples = catalog.dataset(view.dataset).card.examples
    return [
        (
            f"{example.query} in {example.context}" if example.context else example.query,
            "?" + urlencode({"dataset": view.dataset, **_stated(context=example.context), "query": example.query}),
            example.text,
        )
        for example in examples
    ]


def figure_heading(view: View, pair: Pair, *, catalog: Catalog) -> str:
    """Say above an exported figure what it shows, which recipes made it, and in a second line the conditions."""
    return (
        f"{view.query}, {view.k} most {view.direction} · {view.dataset}, {view.context} · alignment {view.align} · "
        f"recipes {pair.left.fingerprint}, {pair.right.fingerprint}\n"
        f"{passport_of(catalog.dataset(view.dataset), view.context).sentence}"
    )


def file_stem(view: View) -> str:
    """Begin the name of an exported file with what it shows: query, dataset, context and both sides."""
    return file_name(view.query, view.dataset, view.context, view.left, view.right) or "explorer"


def panel_titles(catalog: Catalog, view: View) -> tuple[str, str]:
    """Title both panels with the representation and its kind."""
    cards = catalog.dataset(view.dataset).card.representations
    return f"{view.left} · {cards[view.left].kind}", f"{view.right} · {cards[view.right].kind}"


def _stated(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _basis(side: SideActivity) -> str:
    """Give the number that the verdict rests on; both where they disagree."""
    found = side.found
    if found is None:
        return "not judged"
    p, q = f"p {_small(found.p)}", f"q {_small(found.q)}"
    return {"active": q, "borderline": f"{p}, {q}"}.get(side.verdict, p)


def _small(p: float) -> str:
    """Write a probability to two digits, never as 0."""
    return "not defined" if math.isnan(p) else f"{p:.2g}"


def _defined(score: float) -> str:
    """Write a score to two decimals; NaN means that there is none."""
    return "not defined" if math.isnan(score) else f"{score:.2f}"


def _share(share: float) -> str:
    """Write a share as a percentage that never rounds to all or none when it is not."""
    if math.isnan(share):
        return "an unknown share"
    if 0.995 <= share < 1:
        return "more than 99 %"
    if 0 < share < 0.005:
        return "less than 1 %"
    return f"{100 * share:.0f} %"
