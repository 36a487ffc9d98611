"""Print how often procedures fail that the judge does not use, and what the FDR against technical noise is worth.

``python tests/benchmarks/refuted.py [--screens N]`` measures what `tests/test_calibration.py` and
`tests/test_decoys.py` assert, on as many screens as asked for; minutes. The figures stand in the README.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import test_calibration as tried
from test_decoys import error_rates

from explorer.planted import PlantedDesign

DECOY_SCREENS = 12


def average_precision(perturbation_map, groups):
    """Mean average precision of a member's fellows over the whole ranking, for each group."""
    unit = perturbation_map.profiles / perturbation_map.norms[:, None]
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    rank = np.empty(cosine.shape, dtype=int)
    order = np.argsort(-cosine, axis=1)
    np.put_along_axis(rank, order, np.arange(1, len(cosine) + 1)[None, :].repeat(len(cosine), axis=0), axis=1)
    found = []
    for rows in groups:
        own = np.sort(rank[np.ix_(rows, rows)], axis=1)[:, :-1]
        found.append((np.arange(1, len(rows)) / own).mean())
    return np.array(found)


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screens", type=int, default=150)
    n = parser.parse_args().screens

    def share(what, values):
        print(f"{what}: {100 * np.mean(values):.0f} % of {len(values)}", flush=True)

    huge = tried.screens(tried.HUGE_PREFERENCES, n)
    holds = [low <= 0 <= high for low, high in map(tried.normal_interval, map(tried.pair_contributions, huge))]
    share("pairs as units, interval holds the truth", holds)
    share("McNemar on pairs, false", [tried.mcnemar_p(screen) <= 0.05 for screen in huge])
    holds = [low <= 0 <= high for low, high in (tried.flipped(tried.gene_contributions(screen)) for screen in huge)]
    share("genes as units, interval holds the truth", holds)
    share("groups as units on the same screens", [low <= 0 <= high for low, high in (s.interval for s in huge)])
    stressed = [tried.hits_by_unit(s, 500) for s in tried.screens(PlantedDesign.of_kind("stress axis"), n)]
    bca = [tried.bca_interval(values, seed) for seed, values in enumerate(stressed)]
    share("BCa bootstrap of hits among 500, interval holds the truth", [low <= 0 <= high for low, high in bca])
    overlapping = tried.screens(PlantedDesign.of_kind("overlapping groups"), n)
    any_partner = [tried.flipped(tried.any_partner_contributions(s), s.seed) for s in overlapping]
    share("any partner in the top ten under overlap, false", [not low <= 0 <= high for low, high in any_partner])
    preferring = tried.screens(PlantedDesign.of_kind("preferences", advantage=0.2), n)
    hits = [tried.flipped(tried.hits_by_unit(screen, 100), screen.seed) for screen in preferring]
    share("hits among 100, power at +20 %", [low > 0 for low, _ in hits])

    kind = "shared noise and preferences"
    for advantage in (0.0, 0.2):
        better, precise = [], []
        for screen in tried.screens(PlantedDesign.of_kind(kind, advantage=advantage), n):
            maps = (screen.maps.simple, screen.maps.learned)
            one, other = (average_precision(made, screen.units.members) for made in maps)
            precise.append(tried.flipped(other - one, screen.seed)[0] > 0)
            better.append(screen.interval[0] > 0)
        share(f"{kind}, +{advantage:.0%}: recall@10 says better", better)
        share(f"{kind}, +{advantage:.0%}: average precision says better", precise)

    for name, settings in (
        ("isotropic", {}), ("half inactive", {}), ("isotropic", {"stress": 0.3}), ("isotropic", {"rank": 3}),
    ):  # fmt: skip
        rates, _ = error_rates(name, n_screens=DECOY_SCREENS, **settings)
        said = ", ".join(f"{100 * rate:.1f}" for rate in rates)
        print(
            f"FDR against technical noise at 5, 10, 20 %, {name} {settings or ''}: {said} % share no module", flush=True
        )


if __name__ == "__main__":
    main()
