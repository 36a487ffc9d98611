"""What a view says in plain sentences: every number with its null, its units and its direction."""

from __future__ import annotations

import math
import re
from urllib.parse import urlencode

import polars as pl

from explorer.catalog import Catalog, shared_knowledge
from explorer.compare import ONLY_LEFT, ONLY_RIGHT, Comparison, OverlapDistribution, known_counts
from explorer.side_activity import SideActivity
from explorer.side_by_side import GENE_SET_Q, Pair, Yardstick
from explorer.view import View

MOST_NAMED = 3


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


def activity_sentence(view: View, sides: tuple[SideActivity, SideActivity]) -> str:
    """Say whether the query can be told from controls at all, before any neighbour is shown."""
    judged = [side for side in sides if side.verdict != "not judged"]
    if not judged:
        reason = next((side.silence for side in sides if side.silence), "its profile is undefined")
        return f"Whether {view.query} does anything was not judged: {reason}."
    parts: dict[str, list[str]] = {}
    for side in {side.representation: side for side in judged}.values():
        parts.setdefault(side.verdict, []).append(f"{side.representation} ({_basis(side)})")
    said = []
    if "not active" in parts:
        said.append(
            f"{view.query} is not distinguishable from controls in {' and '.join(parts['not active'])}: "
            "neighbours there are likely to mean nothing."
        )
    if "borderline" in parts:
        said.append(f"{view.query} is at the border of what controls do in {' and '.join(parts['borderline'])}.")
    if "active" in parts:
        said.append(f"{view.query} is active in {' and '.join(parts['active'])}.")
    return " ".join(said)


def position_sentences(sides: tuple[SideActivity, SideActivity]) -> list[str]:
    """Say where the position alone could be what the query's replicates have in common."""
    found = []
    for side in {side.representation: side for side in sides}.values():
        if side.found is None or not side.found.shared_position:
            continue
        for position in side.position:
            if position.column not in side.found.shared_position.split(","):
                continue
            alone = (
                "what the position alone does can't be told, since no control repeats its position"
                if math.isnan(position.score)
                else f"position alone scores {position.score:.2f} (controls that find their own position; by chance "
                f"{position.chance:.2f}, p {_small(position.p)})"
            )
            own = side.found.mean_average_precision
            replicates = "" if math.isnan(own) else f", its replicates {own:.2f}"
            found.append(
                f"all replicates of {side.found.perturbation} have the same {position.column}, so position and effect "
                f"can't be told apart in {side.representation}: {alone}{replicates}"
            )
    return found


def activity_note(sides: tuple[SideActivity, SideActivity]) -> str:
    """Explain what activity is judged by, and what is to be known of it."""
    notes = dict.fromkeys(note for side in sides for note in side.notes)
    count = max((side.n_perturbations for side in sides), default=0)
    return (
        "Consistency is the mean cosine of replicates of different batches, magnitude the length of the profile; each "
        "is held against pseudo-perturbations of the same numbers of rows, drawn from controls that fitted no "
        "alignment. Average precision says how well replicates find each other among controls (0 above chance is "
        f"chance, 1 perfect). q is corrected over the {count:,} perturbations of the representation. {' '.join(notes)}"
    )


def answer_sentences(catalog: Catalog, view: View, comparison: Comparison) -> tuple[str, str]:
    """Say in two plain sentences how far the sides agree, and how many known partners each finds."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    names = set(comparison.left_ranking.names) - {view.query}
    partners = knowledge.partners_of(view.query) & names
    agree = summary_sentence(comparison)
    if not knowledge.relationships:
        return agree, "No known relationships stand beside this dataset."
    if not partners:
        return (
            agree,
            f"No partner of {view.query} is known in {', '.join(source.name for source in knowledge.relationships)}.",
        )
    left, right = known_counts(comparison, partners)
    expected = view.k * len(partners) / len(names)
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
        place = {perturbation: row for row, perturbation in enumerate(other.names)}
        ranks = other.ranks_of([place[found] for found in names[:MOST_NAMED]])
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
    card = catalog.dataset(view.dataset).card
    notes = catalog.dataset(view.dataset).notes
    assumed = f" Assumed: {'; '.join(notes)}." if notes else ""
    return f"{card.title}. Context {view.context}: {card.contexts[view.context].context.sentence}.{assumed}"


def agreement_details(comparison: Comparison, distribution: OverlapDistribution) -> str:
    """Give every number of the agreement with its null, its units and its direction."""
    scores = comparison.agreement
    whom = "every perturbation" if distribution.seed is None else f"{len(distribution.queries):,} random perturbations"
    which = "most opposite" if comparison.opposite else "nearest"
    return (
        f"Overlap of the {scores.k} {which}: {_defined(scores.overlap)} "
        f"(chance {scores.chance:.4f}; 1 is equal), "
        f"κ {_defined(scores.kappa)}, "
        f"rank-biased overlap {_defined(scores.rank_biased_overlap)} (p .9; chance "
        f"{scores.rank_biased_chance:.4f}; 0 disjoint, 1 equal), "
        f"among {scores.n_perturbations:,} perturbations. The mean over {whom} is {_defined(distribution.mean)}; "
        f"{_share(distribution.share_below(scores.overlap))} agree less than {comparison.query} "
        "(equal ones counted half)."
    )


def yardstick_sentence(found: list[Yardstick], comparison: Comparison) -> str:
    """Hold the agreement against what agrees anyway: replicate halves and seeds."""
    if not found:
        return (
            "No yardstick: there are neither replicates nor a second seed of these representations that could be "
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


def gene_set_sentence(table: pl.DataFrame, view: View) -> str:
    """Read the best gene set of each side out loud."""
    if not table.height:
        return (
            "No gene set holds more of either neighbourhood than chance explains (q ≤ .05), or none stands beside this "
            "dataset."
        )
    parts = []
    for side, name in (("left", view.left), ("right", view.right)):
        best = table.filter(pl.col(f"{side} q") <= GENE_SET_Q).sort(f"{side} q").head(1)
        parts.append(
            f"{name}: {best['gene set'][0]}, {best[side][0]} (q {best[f'{side} q'][0]:.1g})"
            if best.height
            else f"{name}: none at q ≤ .05"
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
        f"Neighbours are found in the native space ({pair.left.profiles.shape[1]} features left, "
        f"{pair.right.profiles.shape[1]} right), never in these pictures. "
        f"Left: {left.caption}; right: {right.caption}, turned onto the left one. "
        "1 would keep every neighbour, about .5 is random."
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
        ("Context", f"{view.context}: {card.contexts[view.context].context.sentence}"),
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


def figure_heading(view: View, pair: Pair) -> str:
    """Say above an exported figure what it shows and which recipes made it."""
    return (
        f"{view.query}, {view.k} most {view.direction} · {view.dataset}, {view.context} · alignment {view.align} · "
        f"recipes {pair.left.fingerprint}, {pair.right.fingerprint}"
    )


def file_stem(view: View) -> str:
    """Begin the name of an exported file with what it shows, in letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{view.query}-{view.context}").strip("-.")[:60] or "explorer"


def panel_titles(catalog: Catalog, view: View) -> tuple[str, str]:
    """Title both panels with the representation and its kind."""
    cards = catalog.dataset(view.dataset).card.representations
    return f"{view.left} · {cards[view.left].kind}", f"{view.right} · {cards[view.right].kind}"


def _stated(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _basis(side: SideActivity) -> str:
    found = side.found
    if found is None:
        return "not judged"
    q = f", q {_small(found.q)}" if not math.isnan(found.q) else ""
    if found.basis == "magnitude":
        return f"size of the effect, p {_small(found.p)}{q}"
    return f"replicates agree at {found.consistency:.2f}, p {_small(found.p)}{q}"


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
