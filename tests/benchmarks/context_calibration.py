"""How often a comparison of contexts is wrong, and what it finds: planted contexts, hundreds of every kind.

From the top of a checkout, about half an hour on one core for 500 screens of each kind::

    python tests/benchmarks/context_calibration.py --json OUT [--screens 500] [--minutes 60]

What is done is kept in OUT every 25 screens, and a second call goes on from there; ``--minutes`` says when to stop.
Every screen goes through the public API. Three questions are asked.

*Map level*: is the learned map's overlap of neighbourhoods said to be higher than the simple one's where the two are
exchangeable (nominal 2.5 % on either side), or where the learned one shows more of what misleads and no more biology
(better: nominal 2.5 % at most)? Beside it, what was refuted: the raw overlap, and perturbations in place of groups.

*Edge level*: of the edges said to hold, which share are of no module that acts in the other context (nominal 10 %), and
which share of those that are is found? With three contexts, the same of edges said to hold in any other, and in all.

*Absence*: of edges confirmed in the first context and not in the other's graph, which share is there after all (naive:
neither partner is among the other's ten); and of the sets that the procedure names, how many are, and how many were
announced.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from explorer import __version__, edges
from explorer.axis import axis_strata, centered
from explorer.contexts import ContextReport, ContextSide, compare_contexts
from explorer.edges import HOLDS_Q, edge_tests, partial_conjunction
from explorer.known import known_pairs, pool_units
from explorer.overlap import AdjustedOverlap, adjusted_overlap, compare_overlaps, group_means
from explorer.planted_contexts import CONTEXT_KINDS, ContextDesign, PlantedContexts, simulate_contexts
from explorer.significance import benjamini_hochberg, sign_flip
from explorer.stand_ins import neighbor_graph

K = 10
AT_ONCE = 25
NOMINAL_SIDE, NOMINAL_FALSE = 0.025, 0.10
# What a procedure must keep to: a side of the map level, and the share of held edges that are none.
MOST_SIDE, MOST_FALSE = 0.05, 0.16
CONFIRMED_Q = 0.05

MAPS: Mapping[str, ContextDesign] = {
    **{kind: ContextDesign.of_kind(kind) for kind in CONTEXT_KINDS},
    "learned noise .95": ContextDesign(shared_noise=0.5, learned_noise=0.95),
    "learned noise .9": ContextDesign(shared_noise=0.5, learned_noise=0.9),
}
# Kinds where the learned map has a true advantage: their share of "better" is power.
POWERED = ("learned noise .95", "learned noise .9")
# Kinds where it shows more of what misleads: nothing is nominal but that it is not called better.
MISLED = ("more layout", "more hubs", "more stress")
EDGES: Mapping[str, ContextDesign] = {
    "plain": ContextDesign(stress=0.0, hubs=0, layout=0.0),
    "default": ContextDesign(),
    "stress axis": ContextDesign.of_kind("stress axis"),
    "hubs": ContextDesign(hubs=12),
    "layout": ContextDesign(layout=0.6),
    "strong layout": ContextDesign.of_kind("shared layout"),
    "half inactive": ContextDesign.of_kind("half inactive"),
    "others silent": ContextDesign(silent=0.3),
    "nothing general": ContextDesign(general=1, specific=60),
    "layout not declared": ContextDesign(layout=0.6, declares_layout=False),
    "large modules": ContextDesign(smallest=10, largest=14, general=40, specific=8, noise=0.8),
    "large modules, silent": ContextDesign(smallest=10, largest=14, general=40, specific=8, noise=0.8, silent=0.2),
    "mostly specific": ContextDesign(
        smallest=10, largest=14, general=20, specific=26, noise=0.5, stress=0.5, hubs=0, layout=0.0
    ),
    "three contexts": ContextDesign(contexts=3, partial=20, general=40, specific=20),
    "three contexts, plain": ContextDesign(
        contexts=3, partial=20, general=40, specific=20, stress=0.0, hubs=0, layout=0.0, noise=0.9
    ),
}

Row = dict[str, float]
Floats = npt.NDArray[np.float64]


def overlap_of(sides: Sequence[ContextSide]) -> AdjustedOverlap:
    """Compare the neighbourhoods of the first two contexts."""
    one, other = (centered(side.perturbation_map) for side in sides[:2])
    strata = axis_strata(one, layout=sides[0].layout), axis_strata(other, layout=sides[1].layout)
    return adjusted_overlap(one, other, strata=strata, k=K)


def map_row(design: ContextDesign, seed: int) -> Row:
    """Compare the two maps of one screen: estimate and half width by group, raw, and by perturbation."""
    made = simulate_contexts(design, seed=seed)
    units = pool_units([known_pairs(made.known, design.names)])
    learned, simple = overlap_of(made.learned), overlap_of(made.simple)
    difference = learned.adjusted - simple.adjusted
    tests = {
        "adjusted": compare_overlaps(learned, simple, units, seed=seed),
        "raw": sign_flip(group_means(learned.raw - simple.raw, units), seed=seed),
        "perturbations": sign_flip(difference[~np.isnan(difference)], seed=seed),
    }
    row = {f"{name} {what}": getattr(test, what) for name, test in tests.items() for what in ("estimate", "half_width")}
    return row | {"simple": float(np.nanmean(simple.adjusted)), "raw": float(np.nanmean(simple.raw))}


def edge_row(design: ContextDesign, seed: int) -> Row:
    """Judge the edges of the simple map's first context in the others."""
    made = simulate_contexts(design, seed=seed)
    first, *others = made.simple
    report = compare_contexts(first, others, k=K, seed=seed)
    label = others[0].label
    test = report.tests[label]
    there, here = (made.together[context][test.first, test.second] for context in (1, 0))
    both = there & here
    held = test.holds
    row = {
        "edges": len(held), "true": both.sum(), "held": held.sum(), "held false": (held & ~there).sum(),
        "held true": (held & both).sum(), "decoy share": test.decoy_share,
        "null share": report.repeatability[label].null_share,
    }  # fmt: skip
    row |= absence(made, report, label)
    if len(others) > 1:
        row |= conjunction(made, report)
    return {name: float(value) for name, value in row.items()}


def far_row(design: ContextDesign, seed: int) -> Row:
    """Judge the same edges against decoys beyond two steps alone, however few are left there: what was refuted."""
    made = simulate_contexts(design, seed=seed)
    here, there = (centered(side.perturbation_map) for side in made.simple[:2])
    strata = axis_strata(here, layout=made.simple[0].layout)
    usual, edges.LEAST_LEFT = edges.LEAST_LEFT, 0.0
    try:
        test = edge_tests(here, there, strata=strata, other_layout=made.simple[1].layout, k=K, seed=seed)
    finally:
        edges.LEAST_LEFT = usual
    together, held = made.together[:2, test.first, test.second], test.holds
    both = together.all(axis=0)
    return {
        "edges": float(len(held)), "true": float(both.sum()), "held": float(held.sum()),
        "held false": float((held & ~together[1]).sum()), "held true": float((held & both).sum()),
        "decoy share": test.decoy_share,
    }  # fmt: skip


def conjunction(made: PlantedContexts, report: ContextReport) -> Row:
    """Count edges said to hold in at least one, and in all, of the other contexts."""
    tests = list(report.tests.values())
    first, second = tests[0].first, tests[0].second
    n_there = np.sum([made.together[context][first, second] for context in range(1, made.design.contexts)], axis=0)
    here, row = made.together[0][first, second], {}
    p = np.column_stack([test.p for test in tests])
    for word, wanted in (("any", 1), ("all", len(tests))):
        held = benjamini_hochberg(partial_conjunction(p, at_least=wanted)) <= HOLDS_Q
        true = n_there >= wanted
        row |= {
            f"{word} true": (true & here).sum(), f"{word} held": held.sum(),
            f"{word} held false": (held & ~true).sum(), f"{word} held true": (held & true & here).sum(),
        }  # fmt: skip
    return row


def absence(made: PlantedContexts, report: ContextReport, label: str) -> Row:
    """Count what is said to be absent, by the naive rule and by the procedure, and how much of it is there."""
    test, own = report.tests[label], report.own_repeatability.tests
    n = len(report.names)
    there, here = (made.together[context][test.first, test.second] for context in (1, 0))
    good = own.is_reciprocal & (own.q <= CONFIRMED_Q)
    confirmed = np.isin(test.first * n + test.second, own.first[good] * n + own.second[good])
    graph = neighbor_graph(centered(made.simple[1].perturbation_map), k=K)
    missing = confirmed & ~np.isin(test.first * n + test.second, graph.first * n + graph.second)
    said = report.labels.filter(report.labels["context"] == label)["absent"].to_numpy()
    named = report.absent[label]
    return {
        "confirmed": confirmed.sum(), "confirmed false": (confirmed & ~here).sum(),
        "naive absent": missing.sum(), "naive wrong": (missing & there).sum(),
        "sets": float(not named.reason), "set edges": said.sum(),
        "set expected wrong": 0.0 if named.reason else named.expected_wrong,
        "set wrong": (said & (there | ~here)).sum(), "set there": (said & there).sum(),
    }  # fmt: skip


PARTS: Mapping[str, tuple[Mapping[str, ContextDesign], Callable[[ContextDesign, int], Row]]] = {
    "maps": (MAPS, map_row),
    "edges": (EDGES, edge_row),
    "two steps": ({kind: design for kind, design in EDGES.items() if design.contexts == 2}, far_row),
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


def shares(rows: Sequence[Row], name: str) -> tuple[int, int]:
    """Count screens in which a difference is significantly above 0, and below."""
    estimate, half = column(rows, f"{name} estimate"), column(rows, f"{name} half_width")
    return int((estimate - half > 0).sum()), int((estimate + half < 0).sum())


def coverage(rows: Sequence[Row], truth: float) -> int:
    """Count intervals of the adjusted difference that hold the truth."""
    off = np.abs(column(rows, "adjusted estimate") - truth)
    return int((off <= column(rows, "adjusted half_width")).sum())


def map_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of the map level."""
    lines = [
        "| kind | screens | adjusted: better, % | worse, % | coverage, % | raw: better | worse | perturbations: better "
        "| worse |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        n = len(rows)
        # Exchangeable maps differ by 0; else by what they do on average.
        truth = float(column(rows, "adjusted estimate").mean()) if kind in (*POWERED, *MISLED) else 0.0
        cells = [percent(count, n) for name in ("adjusted", "raw", "perturbations") for count in shares(rows, name)]
        cells.insert(2, percent(coverage(rows, truth), n))
        lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    return lines


def edge_table(found: Mapping[str, Sequence[Row]], far: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the tables of the edge level, also with decoys beyond two steps alone, and of absence."""
    lines = [
        "| kind | screens | false share of held, % (mean of screens ± standard error) | of all held | power, % | edges "
        "| true | held | share of decoys that would hold, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(edge_cells(rows))} |")
    for kind, rows in found.items():
        for word in ("any", "all") if "all held" in rows[0] else ():
            lines.append(f"| {kind}, {word} of the others | {len(rows)} | {' | '.join(edge_cells(rows, f'{word} '))} |")
    for kind, rows in far.items():
        lines.append(f"| {kind}, decoys beyond two steps alone | {len(rows)} | {' | '.join(edge_cells(rows))} |")
    lines += [
        "",
        "| kind | confirmed | of them none, % | naive absent | wrong, % | screens with a set | edges in it | expected "
        "wrong | wrong | there after all |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        total = {name: column(rows, name).sum() for name in rows[0]}
        n = max(1.0, total["sets"])
        lines.append(
            f"| {kind} | {total['confirmed'] / len(rows):.1f} | {ratio(total, 'confirmed false', 'confirmed')} "
            f"| {total['naive absent'] / len(rows):.1f} | {ratio(total, 'naive wrong', 'naive absent')} "
            f"| {total['sets']:.0f} | {total['set edges'] / n:.1f} | {total['set expected wrong'] / n:.1f} "
            f"| {total['set wrong'] / n:.1f} | {total['set there'] / n:.1f} |"
        )
    return lines


def false_share(rows: Sequence[Row], prefix: str = "") -> Floats:
    """Share of held edges that are none, screen by screen; 0 where none is held."""
    return column(rows, f"{prefix}held false") / np.maximum(column(rows, f"{prefix}held"), 1)


def edge_cells(rows: Sequence[Row], prefix: str = "") -> list[str]:
    """Write the figures of one kind."""
    false = false_share(rows, prefix)
    total = {name: column(rows, name).sum() for name in rows[0]}
    decoys = column(rows, "decoy share")
    return [
        f"{100 * false.mean():.1f} ± {100 * false.std() / np.sqrt(len(rows)):.1f}",
        ratio(total, f"{prefix}held false", f"{prefix}held"),
        ratio(total, f"{prefix}held true", f"{prefix}true"),
        *(f"{total[name] / len(rows):.0f}" for name in ("edges", f"{prefix}true", f"{prefix}held")),
        f"{100 * np.nanmean(decoys):.1f}",
    ]


def ratio(total: Mapping[str, float], part: str, whole: str) -> str:
    """Write one sum as a percentage of another."""
    return f"{100 * total[part] / total[whole]:.1f}" if total[whole] else "-"


def failures(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[str]:
    """Say what is not as it must be."""
    wrong = []
    for kind, rows in found.get("maps", {}).items():
        better, worse = shares(rows, "adjusted")
        sides = [("better", better)] if kind in MISLED else [("better", better), ("worse", worse)]
        for word, count in sides if kind not in POWERED else []:
            if wilson(count, len(rows))[0] > MOST_SIDE:
                wrong.append(f"maps, {kind}: {percent(count, len(rows))} % {word}")
    for kind, rows in found.get("edges", {}).items():
        for prefix in ("", "any ", "all ") if "all held" in rows[0] else ("",):
            false = false_share(rows, prefix)
            if false.mean() - 2 * false.std() / np.sqrt(len(rows)) > MOST_FALSE and kind != "layout not declared":
                wrong.append(f"edges, {prefix}{kind}: {100 * false.mean():.1f} % of the held edges are none")
    return wrong


def show(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """Write everything."""
    filled = {part: {kind: rows for kind, rows in kinds.items() if rows} for part, kinds in found.items()}
    lines = [
        *map_table(filled.get("maps", {})),
        "",
        *edge_table(filled.get("edges", {}), filled.get("two steps", {})),
        "",
    ]
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
    rows = run(options.json, options.parts, screens=options.screens, minutes=options.minutes)
    print(show(rows))
    return 1 if failures({part: {k: v for k, v in kinds.items() if v} for part, kinds in rows.items()}) else 0


if __name__ == "__main__":
    sys.exit(main())
