"""What lists of pairs find on planted screens, what they promise, and how often two maps' lists are judged wrongly.

From the top of a checkout, about an hour and a half on one core for 500 screens of each kind::

    python tests/benchmarks/shortlist_calibration.py --json OUT [--screens 500] [--minutes 60]

What is done is kept in OUT every 25 screens, and a second call goes on from there; ``--minutes`` says when to stop.
Every screen goes through the public API. Half of the planted groups or so are annotated, the others are hidden: a pair
of a hidden group is a hit. Three questions are asked.

*Orders*: how many of the first 100 pairs are hits, by the order? Beside those that a list offers: two contexts (the
same truth measured twice), the learned map's plain cosine, and truth with its names shuffled.

*Expectation*: how many hits are promised, where the completeness of the annotation is known, and how many come? With
groups annotated at random, and those annotated first that the simple map shows best. What does the correction by the
first results mend?

*Head to head*: how often is one of two exchangeable maps said to find more (nominal 2.5 % a side), and how often is a
better one found? Beside it, what was refuted: a sign test on pairs, of lists without caps. And what comparing costs:
hits among the pairs of a census, against those of a list of as many pairs that is made to find.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from explorer import __version__
from explorer.aggregate import PerturbationMap
from explorer.annotated import annotate
from explorer.head_to_head import HeadToHead, census_depth, judge_census, take_census
from explorer.known import KnownPairs, known_pairs
from explorer.pair_order import EITHER, ORDERS, Order, capped
from explorer.planted import PlantedDesign, simulate_maps
from explorer.relationships import Relationships
from explorer.shortlist import ListSide, Shortlist, expect_hits, make_shortlist

AT_ONCE = 25
LISTED = 100
# Results that come first, and the share of the pairs that fail.
FIRST = 20
FAILED = 0.1
NOMINAL_SIDE = 0.025
# What must be kept to: an exchangeable map that is said to find more, and hits expected for one found. Less is promised
# than comes where much is annotated: pairs annotated apart count as pairs this similar, and none of them is a hit here.
MOST_SIDE, MOST_OFF = 0.03, 0.3

BASE = PlantedDesign(perturbations=300, groups=30, hidden_groups=30)
ALIKE = replace(BASE, shared_noise=0.8, preferences=0.25)
ORDERED: Mapping[str, PlantedDesign] = {
    "shared noise, stress axis": replace(ALIKE, stress=1.5),
    "shared noise": ALIKE,
    "noise of its own, stress axis": replace(BASE, stress=1.5),
    "noise of its own": BASE,
}
# Of 60 groups so many are annotated.
PROMISED: Mapping[str, PlantedDesign] = {
    f"{groups} of 60 groups{', stress axis' if stress else ''}": replace(
        ALIKE, groups=groups, hidden_groups=60 - groups, stress=stress
    )
    for stress in (0.0, 1.5)
    for groups in (42, 30, 24)
}
EQUAL = PlantedDesign(perturbations=400, groups=30, hidden_groups=45)


@dataclass(frozen=True, slots=True)
class Duel:
    """Two maps whose lists are compared, with which budgets, and whether what is listed as known is what is hidden."""

    design: PlantedDesign
    budgets: tuple[int, ...] = (100,)
    is_turned: bool = False


DUELS: Mapping[str, Duel] = {
    "equal": Duel(EQUAL, (50, 100, 200)),
    "equal, shared noise and preferences": Duel(replace(EQUAL, shared_noise=0.5, preferences=0.15)),
    "equal, stress axis": Duel(replace(EQUAL, stress=1.5)),
    "equal, half inactive": Duel(replace(EQUAL, inactive=0.5)),
    "equal, huge hidden groups, preferences": Duel(
        replace(EQUAL, perturbations=500, groups=45, huge=3, hidden_groups=30, shared_noise=0.5, preferences=0.15),
        is_turned=True,
    ),
    "learned +30 %": Duel(replace(EQUAL, advantage=0.3), (50, 100, 200)),
    "learned +60 %": Duel(replace(EQUAL, advantage=0.6), (50, 100, 200)),
}

Row = dict[str, float]
Floats = npt.NDArray[np.float64]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Two maps, what is known of their perturbations, and the pairs that are hits."""

    side: ListSide
    known: tuple[KnownPairs, ...]
    hits: frozenset[Pair]
    groups: tuple[tuple[str, ...], ...]

    @property
    def completeness(self) -> float:
        """Share of the true pairs that are annotated."""
        n_known = sum(source.n_pairs for source in self.known)
        return n_known / (n_known + len(self.hits))


def pairs_of(groups: Iterable[Iterable[str]]) -> frozenset[Pair]:
    """Take all pairs of some groups, each in the order of names."""
    return frozenset(pair for members in groups for pair in combinations(sorted(members), 2))


def draw(design: PlantedDesign, seed: int, *, measured: int = 0, is_turned: bool = False) -> Drawn:
    """Draw a screen; `is_turned` hides the groups that are listed as known, and annotates the hidden ones."""
    made = simulate_maps(design, seed=seed, draw=measured)
    known, hidden = (made.hidden, made.known) if is_turned else (made.known, made.hidden)
    return Drawn(
        side=ListSide(f"measurement {measured + 1}", made.simple, made.learned),
        known=(known_pairs(known, design.names),),
        hits=pairs_of(hidden.groups.values()),
        groups=tuple(tuple(sorted(members)) for source in (known, hidden) for members in source.groups.values()),
    )


def strong_first(drawn: Drawn) -> Drawn:
    """Annotate as many groups as before, but those that are nearest together in the simple map."""
    profiles = drawn.side.simple.profiles / drawn.side.simple.norms[:, None]
    row = {name: number for number, name in enumerate(drawn.side.simple.names)}

    def strength(members: tuple[str, ...]) -> float:
        own = profiles[[row[name] for name in members]]
        return float((own @ own.T)[np.triu_indices(len(own), k=1)].mean())

    ranked = sorted(drawn.groups, key=strength, reverse=True)
    n_annotated = sum(len(source.groups) for source in drawn.known)
    return annotated_by(drawn, ranked[:n_annotated], ranked[n_annotated:])


def annotated_by(drawn: Drawn, groups: Sequence[tuple[str, ...]], hidden: Sequence[tuple[str, ...]]) -> Drawn:
    """Annotate other groups of the same screen."""
    named = [(f"group {number}", *pair) for number, own in enumerate(groups) for pair in combinations(own, 2)]
    label, first, second = zip(*named, strict=True)
    source = Relationships.from_pairs("strong first", first, second, group=label)
    return replace(drawn, known=(known_pairs(source, drawn.side.simple.names),), hits=pairs_of(hidden))


def is_hit(rows: pl.DataFrame, hits: frozenset[Pair]) -> npt.NDArray[np.bool_]:
    """Test the pairs of a list against the truth."""
    return np.array([pair in hits for pair in rows.select("first", "second").iter_rows()], dtype=bool)


def listed(drawn: Drawn, *others: ListSide, order: Order = EITHER, budget: int = LISTED) -> Shortlist:
    """Make a list of a screen."""
    return make_shortlist(drawn.side, others, known=drawn.known, budget=budget, order=order)


def by_cosine(drawn: Drawn, learned: PerturbationMap) -> pl.DataFrame:
    """List pairs by a map's plain cosine, with the caps and candidates of a list."""
    unit = learned.profiles / learned.norms[:, None]
    first, second = np.triu_indices(len(unit), k=1)
    annotation = annotate(drawn.known, learned.names)
    able = ~(annotation.known(first, second) | annotation.apart(first, second))
    first, second = first[able], second[able]
    order = np.argsort(-(unit @ unit.T)[first, second], kind="stable")
    first, second = first[order], second[order]
    kept = capped(first, second, most=3, n_wanted=LISTED)
    names = np.array(learned.names)
    return pl.DataFrame({"first": names[first[kept]], "second": names[second[kept]]})


def order_row(design: PlantedDesign, seed: int) -> Row:
    """Count the hits among the first 100 pairs, by order."""
    drawn, again = draw(design, seed), draw(design, seed, measured=1)
    row = {order: float(is_hit(listed(drawn, order=order).rows, drawn.hits).sum()) for order in ORDERS}
    row["two contexts"] = float(is_hit(listed(drawn, again.side).rows, drawn.hits).sum())
    row["cosine of the learned map"] = float(is_hit(by_cosine(drawn, drawn.side.learned), drawn.hits).sum())
    made = listed(drawn)
    shuffled = np.random.default_rng(seed).permutation(design.names).tolist()
    name_of = dict(zip(design.names, shuffled, strict=True))
    moved = frozenset(tuple(sorted((name_of[one], name_of[other]))) for one, other in drawn.hits)
    row["shuffled names"] = float(is_hit(made.rows, moved).sum())
    row["chance"] = LISTED * len(drawn.hits) / made.n_pairs
    return row


def promise_row(design: PlantedDesign, seed: int) -> Row:
    """Compare hits promised and hits found: annotated at random, or strong groups first; and after 20 results."""
    row: Row = {}
    drawn = draw(design, seed)
    for word, screen in (("random", drawn), ("strong first", strong_first(drawn))):
        rows = listed(screen).rows
        hit = is_hit(rows, screen.hits)
        row[f"{word} completeness"] = screen.completeness
        row[f"{word} expected"] = expected(rows, screen)
        row[f"{word} found"] = float(hit.sum())
        rank = np.arange(len(hit))
        for which, first in (("top", rank < FIRST), ("any", rank % (len(hit) // FIRST) == 0)):
            promised, left = expected(rows.filter(first), screen), expected(rows.filter(~first), screen)
            row[f"{word} {which} left expected"] = left
            row[f"{word} {which} left corrected"] = left * (hit[first].sum() + 0.5) / (promised + 0.5)
            row[f"{word} {which} left found"] = float(hit[~first].sum())
    return {name: float(value) for name, value in row.items()}


def expected(rows: pl.DataFrame, drawn: Drawn) -> float:
    """Expect hits of some rows, the completeness known."""
    return expect_hits(rows["known rate"].to_numpy(), (drawn.completeness,)).expected[0]


def duel_row(duel: Duel, seed: int) -> Row:
    """Compare the lists of the two maps of one screen, with each budget."""
    drawn = draw(duel.design, seed, is_turned=duel.is_turned)
    row: Row = {}
    for budget in duel.budgets:
        census = take_census(drawn.side, known=drawn.known, budget=budget, seed=seed)
        hit = is_hit(census.rows, drawn.hits)
        proposed = (census.rows["proposer"] != "background").to_numpy()
        verdict = judged(census.rows, hit, budget=budget, depth=census.depth)
        row |= {f"{budget} {word}": float(verdict.verdict == f"{word} finds more") for word in ("learned", "simple")}
        row |= {f"{budget} {what}": float(getattr(verdict, what)) for what in ("delta", "depth", "n_discordant")}
        row[f"{budget} underpowered"] = float(verdict.verdict == "underpowered")
        row[f"{budget} pairs"], row[f"{budget} hits"] = float(proposed.sum()), float(hit[proposed].sum())
        row[f"{budget} discover hits"] = float(is_hit(listed(drawn, budget=int(proposed.sum())).rows, drawn.hits).sum())
        row[f"{budget} background"] = float(hit[~proposed].mean())
        row[f"{budget} rate"] = len(drawn.hits) / (
            len(drawn.side.simple.names) * (len(drawn.side.simple.names) - 1) / 2
        )
        row |= {f"{budget} pairs {word}": value for word, value in pair_test(drawn, budget).items()}
        # Assays fail at random: how often is that taken for a failure that hangs on the map?
        failed = np.random.default_rng(seed).random(len(hit)) < FAILED
        found = judged(census.rows, hit, budget=budget, depth=census.depth, failed=failed)
        row[f"{budget} failures blamed"] = float(found.verdict == "description only")
    return row


def judged(
    rows: pl.DataFrame,
    hit: npt.NDArray[np.bool_],
    *,
    budget: int,
    depth: int,
    failed: npt.NDArray[np.bool_] | None = None,
) -> HeadToHead:
    """Score a census by the truth."""
    result = np.where(hit, "hit", "no hit")
    if failed is not None:
        result = np.where(failed, "failed", result)
    return judge_census(rows.with_columns(pl.Series("result", result.tolist())), depth=depth, budget=budget)


def pair_test(drawn: Drawn, budget: int) -> Row:
    """Compare the maps by a sign test on pairs, of lists without caps: what was refuted."""
    lists = []
    for order in ("simple", "learned"):
        made = make_shortlist(drawn.side, known=drawn.known, budget=budget, order=order, per_perturbation=2 * budget)
        lists.append(list(made.rows.select("first", "second").iter_rows()))
    depth = census_depth(*lists, budget=budget)
    simple, learned = (set(pairs[:depth]) for pairs in lists)
    won, lost = len((learned - simple) & drawn.hits), len((simple - learned) & drawn.hits)
    significant = won + lost > 0 and binomtest(won, won + lost).pvalue <= 2 * NOMINAL_SIDE
    return {"learned": float(significant and won > lost), "simple": float(significant and lost > won)}


PARTS: Mapping[str, tuple[Mapping[str, object], Callable[..., Row]]] = {
    "orders": (ORDERED, order_row),
    "promises": (PROMISED, promise_row),
    "duels": (DUELS, duel_row),
}


def wilson(count: float, n: float) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.959964
    share, spread = (count + z**2 / 2) / (n + z**2), z * np.sqrt(count * (n - count) / n + z**2 / 4) / (n + z**2)
    return max(0.0, share - spread), min(1.0, share + spread)


def percent(count: float, n: float) -> str:
    """Write a share in per cent, with its interval."""
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def column(rows: Sequence[Row], name: str) -> Floats:
    """Take one figure of all screens."""
    return np.array([row[name] for row in rows], dtype=np.float64)


def mean(rows: Sequence[Row], name: str) -> str:
    """Write a mean of screens with its standard error."""
    values = column(rows, name)
    return f"{values.mean():.1f} ± {values.std() / np.sqrt(len(values)):.1f}"


def order_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of orders."""
    kinds = list(found)
    lines = [f"| hits among the first {LISTED} | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    names = list(next(iter(found.values()))[0]) if found else []
    lines += [f"| {name} | {' | '.join(mean(found[kind], name) for kind in kinds)} |" for name in names]
    return [*lines, f"| screens | {' | '.join(str(len(found[kind])) for kind in kinds)} |"]


def promise_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the tables of hits expected and found."""
    lines = [
        "| annotated | which | screens | completeness | expected | found | expected for one found | off, a screen, % |",
        "|---" * 8 + "|",
    ]
    for kind, rows in found.items():
        for word in ("random", "strong first"):
            expects, came = column(rows, f"{word} expected"), column(rows, f"{word} found")
            lines.append(
                f"| {kind} | {word} | {len(rows)} | {column(rows, f'{word} completeness').mean():.2f} "
                f"| {expects.mean():.1f} | {came.mean():.1f} | {expects.sum() / came.sum():.2f} "
                f"| {off(expects, came)} |"
            )
    lines += [
        "",
        f"| annotated | which | first {FIRST} results | others: expected | corrected | found | off, a screen, % "
        "| corrected, % |",
        "|---" * 8 + "|",
    ]
    for kind, rows in found.items():
        for word in ("random", "strong first"):
            for which in ("top", "any"):
                expects, corrected, came = (
                    column(rows, f"{word} {which} left {what}") for what in ("expected", "corrected", "found")
                )
                lines.append(
                    f"| {kind} | {word} | {which} | {expects.mean():.1f} | {corrected.mean():.1f} | {came.mean():.1f} "
                    f"| {off(expects, came)} | {off(corrected, came)} |"
                )
    return lines


def off(expects: Floats, came: Floats) -> str:
    """Write how far off the promise of one screen is, as root mean square, in per cent of the mean found."""
    return f"{100 * np.sqrt(((expects - came) ** 2).mean()) / came.mean():.0f}"


def duel_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the tables of comparisons, and of what they cost."""
    lines = [
        "| maps | pairs | screens | learned finds more, % | simple finds more, % | too few differ, % | Δ "
        "| by pairs, no caps: learned, % | simple, % | random failures blamed, % |",
        "|---" * 10 + "|",
    ]
    costs = [
        "| maps | pairs | hits of a census | of a list to find as many | share kept | hits among random pairs, % "
        "| of all pairs, % |",
        "|---" * 7 + "|",
    ]
    for kind, rows in found.items():
        n = len(rows)
        for budget in DUELS[kind].budgets:
            cells = [percent(column(rows, f"{budget} {word}").sum(), n) for word in ("learned", "simple")]
            cells.append(f"{100 * column(rows, f'{budget} underpowered').mean():.1f}")
            cells.append(f"{column(rows, f'{budget} delta').mean():+.3f}")
            cells += [percent(column(rows, f"{budget} pairs {word}").sum(), n) for word in ("learned", "simple")]
            cells.append(f"{100 * column(rows, f'{budget} failures blamed').mean():.1f}")
            lines.append(f"| {kind} | {budget} | {n} | {' | '.join(cells)} |")
            came, could = column(rows, f"{budget} hits"), column(rows, f"{budget} discover hits")
            costs.append(
                f"| {kind} | {budget} | {came.mean():.1f} | {could.mean():.1f} | {came.sum() / could.sum():.2f} "
                f"| {100 * column(rows, f'{budget} background').mean():.2f} "
                f"| {100 * column(rows, f'{budget} rate').mean():.2f} |"
            )
    return [*lines, "", *costs]


def failures(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[str]:
    """Say what is not as it must be."""
    wrong = []
    for kind, rows in found.get("orders", {}).items():
        hits = {name: column(rows, name).mean() for name in rows[0]}
        if kind.startswith("shared noise") and not hits[EITHER] >= hits["both maps"] >= hits["learned minus simple"]:
            wrong.append(f"orders, {kind}: either map, both maps and their difference do not stand in this order")
        if hits["two contexts"] < max(hits[order] for order in ORDERS):
            wrong.append(f"orders, {kind}: two contexts find less than one")
    for kind, rows in found.get("promises", {}).items():
        ratio = column(rows, "random expected").sum() / column(rows, "random found").sum()
        if abs(ratio - 1) > MOST_OFF:
            wrong.append(f"promises, {kind}: {ratio:.2f} hits expected for one found")
    for kind, rows in found.get("duels", {}).items():
        for budget in DUELS[kind].budgets if kind.startswith("equal") else ():
            for word in ("learned", "simple"):
                count = column(rows, f"{budget} {word}").sum()
                if wilson(count, len(rows))[0] > MOST_SIDE:
                    wrong.append(f"duels, {kind}, {budget} pairs: {percent(count, len(rows))} % {word}")
    return wrong


def show(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """Write everything."""
    filled = {part: {kind: rows for kind, rows in kinds.items() if rows} for part, kinds in found.items()}
    lines = []
    for part, table in (("orders", order_table), ("promises", promise_table), ("duels", duel_table)):
        if filled.get(part):
            lines += [*table(filled[part]), ""]
    return "\n".join([*lines, f"not as it must be: {'; '.join(failures(filled)) or 'nothing'}"])


def run(path: Path, parts: Sequence[str], *, screens: int, minutes: float) -> dict[str, dict[str, list[Row]]]:
    """Draw screens, a few of every kind in turn, and keep them; go on from what was kept."""
    until = time.monotonic() + 60 * minutes
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    rows = {part: {kind: kept.get(part, {}).get(kind, []) for kind in PARTS[part][0]} for part in PARTS}
    for wanted in [*range(AT_ONCE, screens, AT_ONCE), screens]:
        for part in parts:
            designs, measure = PARTS[part]
            for kind, design in designs.items():
                own = rows[part][kind]
                while len(own) < wanted and time.monotonic() < until:
                    own.append(measure(design, len(own)))
                keep(path, rows)
        done = {part: min(map(len, rows[part].values())) for part in parts}
        print(f"{time.strftime('%H:%M:%S')} {done}", file=sys.stderr, flush=True)
        if time.monotonic() >= until:
            break
    return rows


def keep(path: Path, rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> None:
    """Write what there is, all or nothing."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps({"explorer": __version__, "rows": rows}), encoding="utf-8")
    beside.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, print the tables and what is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the figures of all screens")
    parser.add_argument("--screens", type=int, default=500, help="of each kind; 0 prints what is there")
    parser.add_argument("--minutes", type=float, default=np.inf, help="when to stop")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args(arguments)
    # Products this small are slower on several threads, and several calls of this script would hold each other up.
    with threadpool_limits(1):
        rows = run(options.json, options.parts, screens=options.screens, minutes=options.minutes)
    print(show(rows))
    return 1 if failures({part: {k: v for k, v in kinds.items() if v} for part, kinds in rows.items()}) else 0


if __name__ == "__main__":
    sys.exit(main())
