"""Power before the screen: could a judge tell a better learned map, with so many guides, cells and perturbations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap, build_map
from explorer.errors import InputError
from explorer.known import known_pairs, pool_units
from explorer.partners import DEFAULT_K, partner_recall
from explorer.relate import neighborhoods
from explorer.relationships import Relationships
from explorer.significance import SignFlip, sign_flip
from explorer.simulate import ScreenDesign, SimulatedScreen, simulate_screen
from explorer.verdict import FEWEST_DISCORDANT, FEWEST_UNITS

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Progress = Callable[[str, float], None]

DEFAULT_SCREENS = 200
# Screens of counts: so many truths, each measured so many times over.
N_TRUTHS, N_COPIES = 6, 4
# Correlation of the learned map's noise with the simple map's, since both are made of the same cells: with it they
# share about a third of their top ten, as measured maps do (.29 to .43 on the DepMap demo).
SHARED_NOISE = 0.5
# Standard deviation, between groups, of the logarithm of the learned map's noise relative to the simple map's: groups
# then differ in their contributions as they do on the DepMap demo (.6 of how they differ in the simple map's recall).
PREFERENCES = 0.1
# Pilot screens of each truth that the advantage is tuned on, and the lengths of noise that are tried.
_PILOTS = 30
_LENGTHS = np.exp(np.linspace(np.log(1 / np.sqrt(N_COPIES)), np.log(1.5), 8))
_SEED_STEP = 1_000_003
# Shares of the default design of a simulated screen.
_PER_MODULE, _PER_SUPER_MODULE, _PER_STRESS = 5, 4, 15
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class DesignPower:
    """What a judge could tell after a screen of a design.

    Attributes
    ----------
    design, advantage
        What was asked: the screen, and how much better the learned map is, relative.
    n_screens
        Simulated screens.
    power, power_low, power_high
        Share of them in which the learned map is significantly better, with Wilson's 95 % interval, which speaks of
        the draws: a few truths stand behind them.
    false_positive
        The same share where the learned map is not better.
    simple, learned
        Mean macro partner recall at 10 of the two maps.
    smallest_detectable
        True difference in macro partner recall that would be found with a probability of 80 %, mean over screens.
    n_units
        Number of groups that the test has.
    overlap
        Mean share of a perturbation's ten nearest in one map that are among its ten nearest in the other.
    most_advantage
        Largest advantage that could be asked about: that of a map with `N_COPIES` times the cells.
    """

    design: ScreenDesign = field(repr=False)
    advantage: float
    n_screens: int
    power: float
    power_low: float
    power_high: float
    false_positive: float
    simple: float
    learned: float
    smallest_detectable: float
    n_units: int
    overlap: float
    most_advantage: float

    @property
    def smallest_advantage(self) -> float:
        """Smallest detectable difference, relative to the simple map's recall."""
        return self.smallest_detectable / self.simple if self.simple > 0 else float("nan")

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        design = self.design
        rows = design.guides * design.batches * design.cells
        return (
            f"With {design.perturbations:,} perturbations of {design.guides} guides and about {rows:,.0f} cells each, "
            f"in {self.n_units} known groups, a learned map that finds {self.advantage:.0%} more partners than the "
            f"simple map's {self.simple:.2f} would be found better in {self.power:.0%} of screens (95 % interval "
            f"{self.power_low:.0%} to {self.power_high:.0%}), one that is no better in {self.false_positive:.0%}; it "
            f"takes {self.smallest_advantage:.0%} more to be found 4 times in 5."
        )


def plan_screen(
    *,
    perturbations: int = 120,
    guides: int = 2,
    cells: float = 5.0,
    batches: int = 3,
    strength: float = 0.4,
    seed: int = 0,
) -> ScreenDesign:
    """Plan a screen like the default one but for its size: four in five perturbations are in modules of four.

    Parameters
    ----------
    perturbations, guides, batches
        Their number; guides are those of one perturbation, and every batch holds them all.
    cells
        Mean number of cells of a guide in a batch.
    strength
        Standard deviation of an effect over the genes it acts on, of the logarithm of expression. The default is half
        of the demo's, where even the simple map misses little.
    seed
        Of the truth.

    Raises
    ------
    InputError
        When the design is impossible.
    """
    modules = max(1, perturbations // _PER_MODULE)
    return ScreenDesign(
        perturbations=perturbations,
        guides=guides,
        cells=cells,
        batches=batches,
        modules=modules,
        super_modules=max(1, modules // _PER_SUPER_MODULE),
        strength=strength,
        stress_only=perturbations // _PER_STRESS,
        context_modules=0,
        contexts=("planned",),
        seed=seed,
    )


def judge_power(
    design: ScreenDesign,
    *,
    advantage: float,
    n_screens: int = DEFAULT_SCREENS,
    seed: int = 0,
    progress: Progress | None = None,
) -> DesignPower:
    """Estimate how often a judge would find a better learned map better, by simulating the screen.

    Some screens of counts are simulated, each truth several times. The simple map is that of a screen: pseudobulk,
    centred on controls. What is common to the copies of a truth is the signal, with a known rest of noise; what
    differs is the noise, guide for guide and control for control. Many pairs of maps are then drawn from these: the
    learned map has the same signal and less noise, correlated with the simple map's by `SHARED_NOISE`, and sees some
    groups better than others; how much less is tuned until its expected macro partner recall at 10 is that much
    higher. *Better* is the verdict's own test; placebos and the lists at a budget are not simulated.

    Parameters
    ----------
    design
        The screen; its modules are taken as the known groups. `plan_screen` makes one.
    advantage
        How much higher the learned map's expected macro partner recall at 10 is, relative: 0.2 for 20 %.
    n_screens
        Pairs of maps that are drawn, for the advantage and again for none.
    seed
        Of everything random; the truths follow from it and the design's seed.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Returns
    -------
    DesignPower
        Equal for equal arguments. Time grows with the cells and genes of the design, little with `n_screens`.

    Raises
    ------
    InputError
        When the advantage is negative or more than a map of four times the cells has, the design has fewer than 20
        groups, or there is no screen to draw.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953 (the interval of a share).
    """
    if not 0 <= advantage < np.inf:
        msg = f"advantage is {advantage}, expected 0 or more: 0.2 asks about a map that is 20 % better"
        raise InputError(msg)
    if isinstance(n_screens, bool) or not isinstance(n_screens, int) or n_screens < 1:
        msg = f"n_screens is {n_screens}, expected 1 or more"
        raise InputError(msg)
    if seed < 0:
        msg = f"seed is {seed}, expected 0 or more"
        raise InputError(msg)
    acting = design.modules - design.context_modules
    if acting < FEWEST_UNITS:
        message = (
            f"{acting} modules act in every context of the design, and a verdict takes {FEWEST_UNITS} groups: plan "
            "more modules"
        )
        raise InputError(message)
    say = progress or (lambda what, share: None)
    truths = _measure(design, seed=seed, say=say)
    say("tuning the advantage", 0.8)
    simple, curve = _recall_curve(truths, seed=seed)
    most_advantage = curve[0] / simple - 1 if simple > 0 else float("nan")
    if not (1 + advantage) * simple < curve[0]:
        message = (
            f"a learned map that is {advantage:.0%} better can't be planted: the simple map's recall is "
            f"{simple:.2f}, and {N_COPIES} times the cells give {curve[0]:.2f}, so ask for less than "
            f"{max(most_advantage, 0):.0%}"
        )
        raise InputError(message)
    lengths = [_length_for((1 + wanted) * simple, curve) for wanted in (advantage, 0.0)]
    found: list[tuple[_Drawn, ...]] = []
    for number in range(n_screens):
        if number % 20 == 0:
            say("drawing maps", 0.9 + 0.1 * number / n_screens)
        found.append(_compare(truths[number % N_TRUTHS], lengths, seed=seed, number=number))
    say("done", 1.0)
    better, equal = zip(*found, strict=True)
    n_found = sum(one.is_better for one in better)
    low, high = wilson_interval(n_found, n_screens)
    return DesignPower(
        design=design,
        advantage=advantage,
        n_screens=n_screens,
        power=n_found / n_screens,
        power_low=low,
        power_high=high,
        false_positive=sum(one.is_better for one in equal) / n_screens,
        simple=float(np.mean([one.simple for one in better])),
        learned=float(np.mean([one.learned for one in better])),
        smallest_detectable=float(np.mean([one.test.smallest_detectable for one in equal])),
        n_units=better[0].test.n_units,
        overlap=float(np.mean([one.overlap for one in better])),
        most_advantage=float(most_advantage),
    )


def wilson_interval(n_found: int, n: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a share."""
    share, square = n_found / n, _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """One truth, measured several times.

    Attributes
    ----------
    example
        One of its maps.
    units, group_of
        Members of the groups, and the number of each perturbation's group, −1 for none.
    signal
        Mean of the copies, shape (n_perturbations, n_features): its noise has 1 / n_copies of a screen's variance.
    common, own
        Noise of a screen's variance: of what all perturbations share (the controls' mean), shape (n_copies − 1,
        n_features), and of each perturbation, shape (n_perturbations, n_copies − 1, n_features).
    """

    example: PerturbationMap
    units: tuple[Rows, ...]
    group_of: Rows
    signal: npt.NDArray[np.float32]
    common: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]

    @classmethod
    def of(cls, simulated: SimulatedScreen, maps: list[PerturbationMap]) -> _Truth:
        module = dict(simulated.truth.select("perturbation", "module").iter_rows())
        first, second = zip(*simulated.true_pairs, strict=True)
        known = Relationships.from_pairs("planted", first, second, group=[module[name] for name in first])
        units = pool_units([known_pairs(known, maps[0].names)]).members
        group_of = np.full(maps[0].n_perturbations, -1, dtype=np.intp)
        for number, members in enumerate(units):
            group_of[members] = number
        copies = np.stack([made.profiles for made in maps])
        # Orthonormal contrasts of the copies: each has the variance of one copy's noise and nothing of the signal.
        contrasts = np.tensordot(_contrasts(len(maps)), copies, axes=1)
        common = contrasts.mean(axis=1)
        own = contrasts - common[:, None]
        return cls(
            example=maps[0],
            units=units,
            group_of=group_of,
            signal=copies.mean(axis=0),
            common=common.astype(np.float32),
            own=np.ascontiguousarray(own.swapaxes(0, 1), dtype=np.float32),
        )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One pair of maps, compared."""

    simple: float
    learned: float
    overlap: float
    test: SignFlip

    @property
    def is_better(self) -> bool:
        enough = self.test.n_units >= FEWEST_UNITS and self.test.n_discordant >= FEWEST_DISCORDANT
        return enough and self.test.excludes_zero and self.test.estimate > 0


def _measure(design: ScreenDesign, *, seed: int, say: Progress) -> list[_Truth]:
    """Simulate the screens of counts and make their maps."""
    truths = []
    for number in range(N_TRUTHS):
        planned = replace(design, seed=design.seed + _SEED_STEP * (seed * N_TRUTHS + number))
        maps = []
        for copy in range(N_COPIES):
            say("simulating counts", 0.8 * (number * N_COPIES + copy) / (N_TRUTHS * N_COPIES))
            simulated = simulate_screen(planned, seed=copy)
            maps.append(build_map(simulated.to_screen(), "pseudobulk", alignment="center"))
        truths.append(_Truth.of(simulated, maps))
    return truths


def _contrasts(n: int) -> npt.NDArray[np.float32]:
    """Orthonormal contrasts of n copies, shape (n − 1, n)."""
    helmert = np.array([[1.0] * row + [-row] + [0.0] * (n - row - 1) for row in range(1, n)])
    return np.asarray(helmert / np.linalg.norm(helmert, axis=1, keepdims=True), dtype=np.float32)


def _draw(
    truth: _Truth, lengths: Sequence[float], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Draw profiles of the simple map, and of learned ones with noise of some lengths relative to the simple map's.

    Of a map's noise, 1 / n_copies of a screen's variance is in the signal already and common to all maps. The rest
    is drawn from the contrasts of the copies, in random proportions; the learned maps differ in nothing but the length.
    """
    n, width = len(truth.own), len(truth.common)
    inside = 1 / (width + 1)
    simple, fresh = (_unit(rng.standard_normal((n + 1, width))) for _ in range(2))
    # At right angles to the simple map's proportions, so that the correlation is exact.
    fresh = _unit(fresh - (fresh * simple).sum(axis=1, keepdims=True) * simple)
    # The last number is of what is in no group, the controls among them.
    preference = np.exp(PREFERENCES * rng.standard_normal(len(truth.units) + 1))
    preference = np.r_[preference[truth.group_of], preference[-1]]
    learned = []
    for length in lengths:
        own = np.maximum(length * preference, np.sqrt(inside))
        rest = np.sqrt(own**2 - inside)
        shared = (SHARED_NOISE * own - inside) / np.maximum(np.sqrt(1 - inside) * rest, 1e-12)
        correlation = np.clip(shared, 0.0, 1.0)[:, None]
        mixed = correlation * simple + np.sqrt(1 - correlation**2) * fresh
        learned.append(_with_noise(truth, rest[:, None] * mixed))
    return _with_noise(truth, np.sqrt(1 - inside) * simple), learned


def _with_noise(truth: _Truth, proportions: Floats) -> npt.NDArray[np.float32]:
    """Add noise in some proportions to the signal; the last line is that of the common noise."""
    weights = proportions.astype(np.float32)
    noise = np.matmul(weights[:-1, None, :], truth.own)[:, 0] + weights[-1] @ truth.common
    return np.asarray(truth.signal + noise)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _recall_curve(truths: Sequence[_Truth], *, seed: int) -> tuple[float, Floats]:
    """Mean recall of the simple map, and of learned ones of all lengths of noise, in pilot screens."""
    scores = []
    for number in range(_PILOTS * len(truths)):
        truth = truths[number % len(truths)]
        simple, learned = _draw(truth, _LENGTHS.tolist(), np.random.default_rng([seed, 0, number]))
        scores.append([_plain_recall(truth, profiles) for profiles in (simple, *learned)])
    means = np.mean(scores, axis=0)
    # Recall falls as noise grows, but for what the pilots get wrong.
    return float(means[0]), np.minimum.accumulate(means[1:])


def _plain_recall(truth: _Truth, profiles: npt.NDArray[np.float32]) -> float:
    """Macro partner recall without the rules for ties, which measured noise has none of: quick, for the pilots."""
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    last = np.partition(cosines, len(cosines) - DEFAULT_K, axis=1)[:, len(cosines) - DEFAULT_K]
    near = cosines >= last[:, None]
    shares = [near[np.ix_(rows, rows)].sum() / (len(rows) * min(DEFAULT_K, len(rows) - 1)) for rows in truth.units]
    return float(np.mean(shares))


def _length_for(wanted: float, curve: Floats) -> float:
    """Length of noise that gives a recall, between those that were tried."""
    return float(np.exp(np.interp(-wanted, -curve, np.log(_LENGTHS))))


def _compare(truth: _Truth, lengths: Sequence[float], *, seed: int, number: int) -> tuple[_Drawn, ...]:
    """Draw one screen and compare each learned map with the simple one, as the verdict does."""
    simple, learned = _draw(truth, lengths, np.random.default_rng([seed, 1, number]))
    found = [neighborhoods(replace(truth.example, profiles=profiles), k=DEFAULT_K) for profiles in (simple, *learned)]
    recalls = [partner_recall(one, truth.units) for one in found]
    low, near = recalls[0], found[0].rows
    return tuple(
        _Drawn(
            simple=float(low.mean()),
            learned=float(high.mean()),
            overlap=float((near[:, :, None] == one.rows[:, None, :]).any(axis=2).mean()),
            test=sign_flip(high - low, seed=number),
        )
        for one, high in zip(found[1:], recalls[1:], strict=True)
    )
