"""Does a representation predict perturbations that nobody has made yet, better than honest baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.crossfit import MEAN, CrossPrediction, cross_predict
from explorer.digits import counted, number, percent, signed
from explorer.errors import InputError, shown
from explorer.folds import Folds, block_sets, group_folds
from explorer.known import KnownPairs, Units, pool_units
from explorer.prediction_scores import (
    noise_ceiling,
    noise_ceiling_of_halves,
    residual_correlation,
)
from explorer.predictors import principal_prior
from explorer.significance import SignFlip, sign_flips
from explorer.spelling import shared_names
from explorer.targets import Target, restricted_target

Task = Literal["prior", "transfer", "pairs"]
Progress = Callable[[str, float], None]
PredictionVerdict = Literal["predicts better", "not shown", "predicts worse", "underpowered", "locked"]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

FEWEST_PREDICTED = 50
FEWEST_BLOCKS = 20
FEWEST_DISCORDANT = 6
# Pairs with both singles measured: with five, no choice of signs can be significant.
FEWEST_PAIRS = 6
# With fewer perturbations than this there is nothing to train on: not even points are shown.
FEWEST_FITTED = 10
# Median correlation of the profiles of two maps beyond which they are of the same cells.
SAME_CELLS = 0.99
# Columns of a prior beyond which it is turned onto its principal axes: the work grows with the third power.
MOST_PRIOR = 1_000
NO_CHANGE, COPY, WELL_POSITION = "no change", "copy", "well position"
# Who predicts better than the simple one must beat each of these too.
MUST_BE_BEATEN = ("baseline", "placebo")
SIMPLE, LEARNED = "simple", "learned"
SCORES_SCHEMA = {
    "name": pl.String, "kind": pl.String, "method": pl.String, "judged": pl.Boolean, "rho": pl.Float64,
    "rho_neighbors": pl.Float64, "skill": pl.Float64, "discrimination": pl.Float64, "mae": pl.Float64, "n": pl.Int64,
}  # fmt: skip
PERTURBATIONS_SCHEMA = {
    "perturbation": pl.String, "fold": pl.Int64, "block": pl.Int64, "groups": pl.String, "simple": pl.Float64,
    "learned": pl.Float64, "difference": pl.Float64, "magnitude": pl.Float64, "ceiling": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PredictionTest:
    """Mean difference of ρ⊥ over blocks, learned − another predictor, and its interval D ± max(q, h).

    Attributes
    ----------
    against, kind
        Name and kind of the other: simple | placebo | baseline.
    estimate, sign_flip, jackknife
        D, the half width q of random signs of the blocks, and the half width h of the whole-pipeline jackknife.
    p
        Of the random signs.
    n_blocks, n_discordant
        Units, and those that differ.
    """

    against: str
    kind: str
    estimate: float
    sign_flip: float
    jackknife: float
    p: float
    n_blocks: int
    n_discordant: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is significant at 5 %, two-sided."""
        return abs(self.estimate) > self.half_width

    @property
    def half_width(self) -> float:
        """max(q, h)."""
        return max(self.sign_flip, self.jackknife)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.estimate - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.estimate + self.half_width


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """How well unseen perturbations are predicted, and with what right it may be said.

    Attributes
    ----------
    task, target, simple, learned
        What was predicted, and from which representations (`simple` and `learned` name maps; for pairs of singles
        they name the judged predictor and the larger single alone).
    verdict, reason
        The verdict, and one sentence why; `reason` also says what locks it.
    primary
        Learned against simple; None where too little is there to test.
    tests
        Learned against every baseline and placebo, in the order shown.
    scores
        One line a predictor: ``name, kind`` (learned | simple | placebo | baseline), ``method`` (ridge, nearest
        neighbours, mean …), ``judged`` (whether a test uses it), ``rho`` (mean over blocks), ``rho_neighbors`` (of
        the nearest neighbours on the same representation; NaN for baselines), ``skill, discrimination, mae, n``.
    perturbations
        One line a predicted perturbation: ``perturbation, fold, block`` (number), ``groups`` (names of its original
        groups, joined by "; "), ``simple, learned`` (ρ⊥, NaN where undefined), ``difference``, ``magnitude`` (length
        of the true deviation), ``ceiling``.
    ceiling
        Mean over blocks of the ceiling that replicates allow; NaN where it is suppressed or unknown.
    ceiling_note
        Why there is none; empty where there is.
    n_perturbations, n_blocks, share_kept
        Predicted perturbations, units, and the mean share of training perturbations that the buffer left.
    truth, predicted
        Deviations from the training mean in the order of `perturbations`, shape (n, n_features), float32: measured,
        and by name of the predictor (``simple``, ``learned``).
    features
        Names of the features; empty where they have none.
    notes
        What the reader must know: perturbations without a prior, constant features.
    fingerprints
        Of the maps: ``target``, ``simple``, ``learned``.
    seed
        Of everything random.
    recipes
        How each of these maps was made, in words.
    """

    task: Task
    target: str
    simple: str
    learned: str
    verdict: PredictionVerdict
    reason: str
    primary: PredictionTest | None
    tests: tuple[PredictionTest, ...]
    scores: pl.DataFrame = field(repr=False)
    perturbations: pl.DataFrame = field(repr=False)
    ceiling: float
    ceiling_note: str
    n_perturbations: int
    n_blocks: int
    share_kept: float
    truth: npt.NDArray[np.float32] = field(repr=False)
    predicted: Mapping[str, npt.NDArray[np.float32]] = field(repr=False)
    features: tuple[str, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    recipes: Mapping[str, str] = field(repr=False, default_factory=dict)


def predict_unseen(
    target: Target,
    simple: PerturbationMap,
    learned: PerturbationMap,
    *,
    known: Sequence[KnownPairs],
    placebos: Mapping[str, PerturbationMap] | None = None,
    rivals: Mapping[str, PerturbationMap] | None = None,
    task: Task = "prior",
    locked: str = "",
    copy: PerturbationMap | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Prediction:
    """Predict every perturbation of the target from two representations, folds apart, and compare: the front door.

    Perturbations are dealt to five folds by their groups, and what shares a group with a tested one does not train for
    it. Every predictor gives the deviation from the mean of the training profiles; ridge regression is judged and
    nearest neighbours stand beside it. What is compared is ρ⊥, the correlation with the truth beyond the mean effect,
    averaged within blocks (each perturbation in its largest merged group, else alone); one that is undefined says
    nothing and counts 0. The interval is D ± max(q, h): q from random signs of the blocks, h from a jackknife of all
    that is fitted, over 20 sets of blocks. The words of the verdict are tried in this order: *locked*,
    *underpowered*, *predicts worse*, *not shown* (no difference; a baseline or a placebo is not beaten), *predicts
    better*, which takes that every single test is passed (an intersection-union test, so that none is corrected for).

    Parameters
    ----------
    target
        What is predicted.
    simple, learned
        Representations of the same perturbations, of other cells than the target's.
    known
        Groups, looked up in perturbations of which the predicted ones are some; without any, relatives of a tested
        perturbation may train for it, and the verdict is locked.
    placebos
        Maps that learned nothing: the learned one must beat each, as it must each baseline. Where the target's layout
        is known, the position of its wells is one of them.
    rivals
        Other simple maps, to say whether the simple one is the best.
    task
        ``prior`` or ``transfer``; nothing differs but the word.
    locked
        Why no verdict may be given (it saw the target); empty where one may.
    copy
        Another context's map of the very features of the target: a baseline that is not trained.
    seed
        Of everything random.
    progress
        Called with what is done next and the share that is done.

    Returns
    -------
    Prediction
        Without a verdict, but with all points, below 50 perturbations or 20 blocks.

    Raises
    ------
    InputError
        When the two representations are one, one of them (or the copy) holds the very profiles that are to be
        predicted, a prior has values that are not finite, fewer than ten perturbations have a profile in all three, or
        the buffer leaves nothing to train on.

    References
    ----------
    Roberts et al. 2017, doi:10.1111/ecog.02881 (blocks); Efron and Stein 1981, doi:10.1214/aos/1176345462 (jackknife);
    Berger 1982, doi:10.1080/00401706.1982.10487790 (intersection-union test).
    """
    say = progress or (lambda what, share: None)
    if simple.fingerprint == learned.fingerprint:
        message = (
            f"{shown(simple.recipe.representation)} can't be compared with itself: choose two representations of the "
            "perturbations"
        )
        raise InputError(message)
    names, notes = common_names(target, simple, learned)
    notes = [*target.notes, *notes]
    target = restricted_target(target, names)
    for made in (simple, learned, *(() if copy is None else (copy,))):
        _refuse_same_cells(target, made)
    known = [_looked_up_in(source, names) for source in known]
    known = [source for source in known if source.groups]
    units = pool_units(known) if known else Units((), (), "given")
    folds = group_folds(len(names), units, known, seed=seed)
    if not known and not locked:
        locked = (
            "nothing is known of groups of these perturbations, so that relatives of a tested one may train for it: "
            "name sources of known relationships"
        )
    lines, priors = _priors(simple, learned, placebos or {}, rivals or {}, target, notes=notes)
    fixed = _fixed(target, copy, names, notes=notes)
    is_tested = len(names) >= FEWEST_PREDICTED and folds.n_blocks >= FEWEST_BLOCKS
    judged = {key: prior for key, prior in priors.items() if lines[key].kind != SIMPLE or key == SIMPLE}
    found = cross_predict(
        judged,
        target.profiles.profiles,
        folds,
        control=target.control,
        sets=block_sets(folds.n_blocks, seed=seed) if is_tested else None,
        fixed=fixed,
        kept=(SIMPLE, LEARNED),
        neighbors=tuple(judged),
        seed=seed,
        progress=lambda what, share: say(what, 0.9 * share),
    )
    others = {key: prior for key, prior in priors.items() if key not in judged}
    if others:
        # Scored, but not tested: the jackknife of what no verdict rests on would be most of the work.
        say("other simple representations", 0.9)
        beside = cross_predict(
            others, target.profiles.profiles, folds, control=target.control, neighbors=tuple(others), seed=seed
        )
        found = _joined(found, beside)
    say("comparing", 0.97)
    made = _Comparison(found, folds, lines, seed=seed)
    primary, tests = made.tests() if is_tested else (None, ())
    scores = made.scores()
    better = _better_simple(scores, simple.recipe.representation)
    word, reason = decide_prediction(
        primary, tests, locked=locked, n_perturbations=len(names), n_blocks=folds.n_blocks, names=made.compared
    )
    if better:
        reason = f"{reason}; {better}"
    ceilings, ceiling, ceiling_note = _ceiling(target, found, folds)
    kept_share = float(folds.share_kept.mean())
    say("done", 1.0)
    return Prediction(
        task=task,
        target=target.label,
        simple=simple.recipe.representation,
        learned=learned.recipe.representation,
        verdict=word,
        reason=reason,
        primary=primary,
        tests=tests,
        scores=scores,
        perturbations=_lines_of(names, found, folds, groups=_groups_of(known, len(names)), ceilings=ceilings),
        ceiling=ceiling,
        ceiling_note=ceiling_note,
        n_perturbations=len(names),
        n_blocks=folds.n_blocks,
        share_kept=kept_share,
        truth=found.truth,
        predicted={side: found.predicted[side] for side in (SIMPLE, LEARNED)},
        features=target.features,
        notes=tuple(notes),
        fingerprints={
            "target": target.profiles.fingerprint, "simple": simple.fingerprint, "learned": learned.fingerprint,
        },
        seed=seed,
        recipes={
            "target": target.profiles.recipe.sentence, "simple": simple.recipe.sentence,
            "learned": learned.recipe.sentence,
        },
    )  # fmt: skip


def common_names(
    target: Target, simple: PerturbationMap, learned: PerturbationMap
) -> tuple[tuple[str, ...], list[str]]:
    """Find the perturbations that can be predicted: those with a profile in the target and in both representations.

    Returns
    -------
    tuple
        Names, sorted, and a sentence for each side that lacks some.

    Raises
    ------
    InputError
        When fewer than ten are left.
    """
    own = set(target.profiles.names)
    shared, notes = own, []
    for side in (simple, learned):
        called = side.recipe.representation
        # Refuses where hardly any name is shared, and shows the nearest spellings.
        found = shared_names(own, side.names, labels=(target.label, called), at_least=FEWEST_FITTED)
        missing = len(own) - len(found.names)
        if missing:
            notes.append(
                f"{missing:,} of {len(own):,} perturbations of the target ({percent(missing / len(own))}) have no "
                f"profile in {called} and were left out: nothing is said of them"
            )
        notes += [found.sentence] if found.sentence else []
        shared = shared & set(found.names)
    if len(shared) < FEWEST_FITTED:
        message = (
            f"{counted(len(shared), 'perturbation has', 'perturbations have')} a profile in {target.label}, "
            f"{simple.recipe.representation} and {learned.recipe.representation}, expected {FEWEST_FITTED} or more: "
            "choose representations of the same perturbations"
        )
        raise InputError(message)
    return tuple(sorted(shared)), notes


def decide_prediction(
    primary: PredictionTest | None,
    tests: Sequence[PredictionTest],
    *,
    locked: str,
    n_perturbations: int,
    n_blocks: int,
    names: tuple[str, str],
    unit: str = "unit",
) -> tuple[PredictionVerdict, str]:
    """Choose the word, in the order that was fixed beforehand, and say why in one sentence.

    Parameters
    ----------
    primary, tests
        Learned against simple, None where too little is there; and against all others.
    locked
        Why no verdict may be given; empty where one may.
    n_perturbations, n_blocks
        What was predicted.
    names
        Of simple and learned.
    unit
        What one unit of the comparison is called.
    """
    what = f"correlation beyond the mean effect, {names[1]} − {names[0]}"
    said = "" if primary is None else f"{what}: {_interval(primary)} over {counted(primary.n_blocks, unit)}"
    if locked:
        return "locked", locked
    if n_perturbations < FEWEST_PREDICTED:
        few = counted(n_perturbations, "perturbation")
        return "underpowered", f"shown, not tested: {few}, and it takes {FEWEST_PREDICTED} for a verdict"
    if n_blocks < FEWEST_BLOCKS or primary is None:
        few = counted(n_blocks, "unit")
        return "underpowered", f"shown, not tested: {few} of related perturbations, and it takes {FEWEST_BLOCKS}"
    if primary.n_discordant < FEWEST_DISCORDANT:
        return (
            "underpowered",
            f"the two differ on {primary.n_discordant:,} of {counted(primary.n_blocks, unit)}, and it takes "
            f"{FEWEST_DISCORDANT} for a verdict",
        )
    if primary.excludes_zero and primary.estimate < 0:
        return "predicts worse", said
    if not primary.excludes_zero:
        return "not shown", f"{said} includes 0"
    # Every one of them must be beaten, so that each may be tested at 5 % without a correction.
    unbeaten = [
        test for test in tests if test.kind in MUST_BE_BEATEN and not (test.excludes_zero and test.estimate > 0)
    ]
    if unbeaten:
        worst = min(unbeaten, key=lambda test: test.estimate)
        return (
            "not shown",
            f"{said}, but the {worst.kind} {worst.against!r} is not beaten: {names[1]} − {worst.kind} "
            f"{_interval(worst)}",
        )
    # Of pairs nothing is trained, so that nothing can pass for training.
    beaten = [f"every {kind}" for kind in MUST_BE_BEATEN if any(test.kind == kind for test in tests)]
    beside = f", and {' and '.join(beaten)} {'is' if len(beaten) == 1 else 'are'} beaten" if beaten else ""
    if "every placebo" not in beaten and unit == "unit":
        beside += ", though no placebo was run"
    return "predicts better", f"{said}{beside}"


def jackknife_half_width(estimates: npt.ArrayLike) -> float:
    """Half width of a 95 % interval from estimates made without each of J sets.

    Parameters
    ----------
    estimates
        Shape (J,).

    Returns
    -------
    float
        t(.975; J − 1) · sqrt((J − 1)/J · Σ(D₋ⱼ − D̄)²); NaN with fewer than two.

    References
    ----------
    Efron and Stein 1981, doi:10.1214/aos/1176345462.
    """
    from scipy.special import stdtrit

    values = np.asarray(estimates, dtype=np.float64)
    n = len(values)
    if n < 2:
        return float("nan")
    return float(stdtrit(n - 1, 0.975) * np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum()))


def _refuse_same_cells(target: Target, made: PerturbationMap) -> None:
    """Refuse a prior that is the target itself under another name: noise that both share would pass for prediction."""
    own, theirs = target.profiles.recipe, made.recipe
    if own.source and (own.source, own.rows) == (theirs.source, theirs.rows):
        found = "both were read from the same values with the same labels"
    else:
        likeness = _likeness(target.profiles, made)
        if not likeness > SAME_CELLS:
            return
        found = f"the profiles of the same perturbation correlate by {number(likeness)} (median)"
    message = (
        f"{shown(theirs.representation)} of {shown(theirs.context)} holds the very profiles of {target.label} that are "
        f"to be predicted, expected other cells: {found}; choose another context to predict from"
    )
    raise InputError(message)


def _likeness(one: PerturbationMap, other: PerturbationMap) -> float:
    """Correlate the profiles of each perturbation in two maps of as many features, about their means; the median.

    NaN where the features are not as many, or fewer than three, since any two profiles of two features correlate by 1.
    """
    place = {name: row for row, name in enumerate(other.names)}
    pairs = [(row, place[name]) for row, name in enumerate(one.names) if name in place]
    left, right = (
        profiles[:, np.ptp(profiles, axis=0) > 0]
        for profiles in (
            made.profiles[[pair[side] for pair in pairs]].astype(np.float64) for side, made in enumerate((one, other))
        )
    )
    if left.shape != right.shape or left.shape[1] < 3:
        return float("nan")
    left, right = (centred - centred.mean(axis=1)[:, None] for centred in (x - x.mean(axis=0) for x in (left, right)))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    usable = lengths > 0
    if not usable.any():
        return float("nan")
    return float(np.median((left * right).sum(axis=1)[usable] / lengths[usable]))


NO_REPLICATES = "no replicates, so that it is not known how well a repeat of the measurement would predict it"


@dataclass(frozen=True, slots=True)
class _Line:
    """What a predictor is called on the page."""

    name: str
    kind: str
    method: str


def _priors(
    simple: PerturbationMap,
    learned: PerturbationMap,
    placebos: Mapping[str, PerturbationMap],
    rivals: Mapping[str, PerturbationMap],
    target: Target,
    *,
    notes: list[str],
) -> tuple[dict[str, _Line], dict[str, Floats]]:
    """Bring every representation to the perturbations of the target; what they lack of it goes to the notes."""
    names = target.profiles.names
    given: list[tuple[str, _Line, PerturbationMap]] = [
        (LEARNED, _Line(learned.recipe.representation, "learned", "ridge"), learned),
        (SIMPLE, _Line(simple.recipe.representation, "simple", "ridge"), simple),
        *((f"rival {name}", _Line(name, "simple", "ridge"), made) for name, made in rivals.items()),
        *((f"placebo {name}", _Line(name, "placebo", "ridge"), made) for name, made in placebos.items()),
    ]
    lines, priors = {}, {}
    for key, line, made in given:
        priors[key] = _rows_of(made, names, notes=notes)
        lines[key] = line
    if target.wells is not None:
        key = f"placebo {WELL_POSITION}"
        lines[key], priors[key] = _Line(WELL_POSITION, "placebo", "ridge"), target.wells
    for key, prior in priors.items():
        if min(prior.shape) > MOST_PRIOR:
            priors[key], share = principal_prior(prior, most=MOST_PRIOR)
            notes.append(
                f"{lines[key].name} was turned onto its first {priors[key].shape[1]:,} principal axes of "
                f"{prior.shape[1]:,} features, which hold {percent(share)} of its variance"
            )
    return lines, priors


def _rows_of(made: PerturbationMap, names: tuple[str, ...], *, notes: list[str]) -> Floats:
    """Take the profiles of some perturbations; one that a placebo lacks has the mean of the others, and is said."""
    place = {name: row for row, name in enumerate(made.names)}
    rows = np.array([place.get(name, -1) for name in names], dtype=np.intp)
    profiles = made.profiles[rows].astype(np.float64)
    called = made.recipe.representation
    if not np.isfinite(profiles[rows >= 0]).all():
        message = f"{shown(called)} has values that are NaN or infinite: leave those perturbations out of it"
        raise InputError(message)
    missing = int((rows < 0).sum())
    if missing:
        profiles[rows < 0] = profiles[rows >= 0].mean(axis=0) if missing < len(rows) else 0.0
        notes.append(f"{called} has no profile of {counted(missing, 'perturbation')}, which it predicts as the mean")
    return profiles


def _fixed(
    target: Target, copy: PerturbationMap | None, names: tuple[str, ...], *, notes: list[str]
) -> dict[str, Floats]:
    """Make the baselines that need no training: the controls, and another context's profiles."""
    fixed: dict[str, Floats] = {}
    if target.control is not None:
        fixed[NO_CHANGE] = target.control
    if copy is not None:
        if copy.profiles.shape[1] != target.profiles.profiles.shape[1]:
            message = (
                f"a copy takes the features of the target, {target.profiles.profiles.shape[1]:,}, and "
                f"{shown(copy.recipe.representation)} of {shown(copy.recipe.context)} has {copy.profiles.shape[1]:,}: "
                "leave the copy out"
            )
            raise InputError(message)
        fixed[COPY] = _rows_of(copy, names, notes=notes)
    return fixed


def _looked_up_in(source: KnownPairs, names: tuple[str, ...]) -> KnownPairs:
    """Bring the groups of a source to the perturbations that are predicted; those of one member there are left out."""
    if source.names == names:
        return source
    place = {name: row for row, name in enumerate(names)}
    code = np.array([place.get(name, -1) for name in source.names], dtype=np.intp)
    groups = {}
    for name, members in source.groups.items():
        rows = np.sort(code[members][code[members] >= 0])
        if len(rows) > 1:
            groups[name] = rows
    first, second = code[source.first], code[source.second]
    both = (first >= 0) & (second >= 0)
    low, high = np.minimum(first, second)[both], np.maximum(first, second)[both]
    return replace(source, names=names, first=low, second=high, groups=groups)


def _groups_of(known: Sequence[KnownPairs], n: int) -> list[str]:
    """Name the original groups of every perturbation, joined by ``; ``."""
    found: list[list[str]] = [[] for _ in range(n)]
    for source in known:
        for name, members in source.groups.items():
            for row in members.tolist():
                found[row].append(name)
    return ["; ".join(dict.fromkeys(names)) for names in found]


class _Comparison:
    """Scores and tests of one run over the folds."""

    def __init__(self, found: CrossPrediction, folds: Folds, lines: Mapping[str, _Line], *, seed: int) -> None:
        self._found, self._folds, self._seed = found, folds, seed
        baselines = {name: _Line(name, "baseline", name) for name in (MEAN, NO_CHANGE, COPY) if name in found.rho}
        self._lines = {**lines, **baselines}
        self.compared = (lines[SIMPLE].name, lines[LEARNED].name)

    def tests(self) -> tuple[PredictionTest, tuple[PredictionTest, ...]]:
        """Hold the learned one against the simple one, and against every baseline and placebo."""
        kinds = ("baseline", "placebo")
        others = [key for kind in kinds for key, line in self._lines.items() if line.kind == kind]
        keys = [SIMPLE, *others]
        block, n_blocks = self._folds.block, self._folds.n_blocks
        own = or_zero(self._found.rho[LEARNED])
        contributions = [block_means(own - or_zero(self._found.rho[key]), block, n_blocks) for key in keys]
        made = [
            prediction_test(test, self._lines[key].name, self._lines[key].kind, jackknife=self._jackknife(key))
            for key, test in zip(keys, sign_flips(contributions, seed=self._seed), strict=True)
        ]
        return made[0], tuple(made[1:])

    def _jackknife(self, key: str) -> float:
        found, block = self._found, self._folds.block
        estimates = []
        for place, gone in enumerate(found.left_out_rows):
            rows = ~gone
            left = np.unique(block[rows], return_inverse=True)[1]
            differences = or_zero(found.left_out[LEARNED][place]) - or_zero(self._left_out(key)[place])
            estimates.append(block_means(differences[rows], left, int(left.max()) + 1).mean())
        return jackknife_half_width(estimates)

    def _left_out(self, key: str) -> Floats:
        # The mean has no correlation to leave out.
        missing = np.full(self._found.left_out_rows.shape, np.nan)
        return self._found.left_out.get(key, missing)

    def scores(self) -> pl.DataFrame:
        """One line a predictor, the judged two first."""
        found, block, n_blocks = self._found, self._folds.block, self._folds.n_blocks

        def over_blocks(values: Floats | None) -> float:
            return float("nan") if values is None else float(block_means(or_zero(values), block, n_blocks).mean())

        lines = [
            (
                line.name, line.kind, line.method, line.kind != "simple" or key == SIMPLE, over_blocks(found.rho[key]),
                over_blocks(found.rho_neighbors.get(key)), float(found.skill[key]),
                float(np.nanmean(found.discrimination[key])), float(np.nanmean(found.mae[key])), len(block),
            )
            for key, line in self._lines.items()
        ]  # fmt: skip
        return pl.DataFrame(lines, schema=SCORES_SCHEMA, orient="row")


def block_means(values: Floats, block: Rows, n_blocks: int) -> Floats:
    """Average within blocks, shape (n_blocks,).

    Parameters
    ----------
    values
        Of every perturbation, shape (n,).
    block
        Number of its block, shape (n,).
    n_blocks
        How many there are; each has a member.
    """
    sums = np.bincount(block, weights=values, minlength=n_blocks)
    return np.asarray(sums / np.bincount(block, minlength=n_blocks))


def prediction_test(test: SignFlip, against: str, kind: str, *, jackknife: float) -> PredictionTest:
    """Join the two half widths of a comparison: of random signs, and of the jackknife."""
    return PredictionTest(
        against=against,
        kind=kind,
        estimate=test.estimate,
        sign_flip=test.half_width,
        jackknife=jackknife,
        p=test.p,
        n_blocks=test.n_units,
        n_discordant=test.n_discordant,
    )


def _joined(one: CrossPrediction, other: CrossPrediction) -> CrossPrediction:
    """Add the points of further predictors."""
    parts: dict[str, Any] = {
        name: {**getattr(other, name), **getattr(one, name)}
        for name in ("rho", "rho_neighbors", "skill", "discrimination", "mae")
    }
    return replace(one, **parts)


def _better_simple(scores: pl.DataFrame, simple: str) -> str:
    """Say which other simple representation scores higher than the one judged; empty where none does."""
    own = float(scores.filter(pl.col("judged") & (pl.col("kind") == "simple"))["rho"][0])
    higher = scores.filter((pl.col("kind") == "simple") & ~pl.col("judged") & (pl.col("rho") > own))
    if not higher.height:
        return ""
    best = higher.sort("rho", descending=True)[0]
    return (
        f"{simple} is not the best simple one: {best['name'][0]} scores {number(best['rho'][0])} against "
        f"{number(own)}, so judge against it too"
    )


def _ceiling(target: Target, found: CrossPrediction, folds: Folds) -> tuple[Floats, float, str]:
    """Find the highest ρ⊥ that a repeat of the measurement would allow: of every perturbation, and over blocks."""
    n = len(folds.block)
    if target.halves is None:
        return np.full(n, np.nan), float("nan"), NO_REPLICATES
    one, other = target.halves
    shared = found.shared[folds.fold]
    return (
        noise_ceiling_of_halves(one, other, shared=shared),
        *overall_ceiling(residual_correlation(one, other, shared=shared), folds.block),
    )


def overall_ceiling(halves: Floats, block: Rows) -> tuple[float, str]:
    """Say what a repeat of the measurement would allow over all blocks.

    Parameters
    ----------
    halves
        ρ⊥ of the two halves of every perturbation, shape (n,); NaN where there are none.
    block
        Number of its block, shape (n,).

    Returns
    -------
    tuple
        sqrt(2r/(1 + r)) of the mean r over blocks; or NaN, and a sentence why there is none.
    """
    known = np.isfinite(halves)
    if not known.any():
        return float("nan"), NO_REPLICATES
    left = np.unique(block[known], return_inverse=True)[1]
    mean = float(block_means(halves[known], left, int(left.max()) + 1).mean())
    found = float(noise_ceiling(np.array([mean]))[0])
    if np.isnan(found):
        return found, (
            f"halves of the replicates correlate by {number(mean)} beyond the mean effect, too little to say what a "
            "repeat would allow (it takes .1)"
        )
    return found, ""


def _lines_of(
    names: Sequence[str], found: CrossPrediction, folds: Folds, *, groups: Sequence[str], ceilings: Floats
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "perturbation": list(names), "fold": folds.fold, "block": folds.block, "groups": list(groups),
            "simple": found.rho[SIMPLE], "learned": found.rho[LEARNED], "difference": difference_of(found.rho),
            "magnitude": np.linalg.norm(found.truth.astype(np.float64), axis=1), "ceiling": ceilings,
        },
        schema=PERTURBATIONS_SCHEMA,
    )  # fmt: skip


def difference_of(rho: Mapping[str, Floats]) -> Floats:
    """Learned − simple as it is averaged: what is undefined counts 0, unless both are."""
    undefined = np.isnan(rho[LEARNED]) & np.isnan(rho[SIMPLE])
    return np.where(undefined, np.nan, or_zero(rho[LEARNED]) - or_zero(rho[SIMPLE]))


def or_zero(values: Floats) -> Floats:
    """Count what is undefined as 0: it says nothing beyond the mean."""
    return np.where(np.isnan(values), 0.0, values)


def _interval(test: PredictionTest) -> str:
    return f"{signed(test.estimate)} ({signed(test.low)} to {signed(test.high)})"
