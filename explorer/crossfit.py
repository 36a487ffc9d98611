"""Every perturbation predicted by what did not train on it; and again without each set of blocks, for the jackknife."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError, listed
from explorer.folds import Folds
from explorer.kernels import make_pool
from explorer.prediction_scores import beyond_shared, discrimination, mean_absolute_error
from explorer.predictors import RidgeTraining, nearest_neighbors, ridge_training
from explorer.threads import one_thread_products

Floats = npt.NDArray[np.float64]
Profiles = npt.NDArray[np.float32] | Floats
Rows = npt.NDArray[np.intp]
Progress = Callable[[str, float], None]

MEAN = "mean"


@dataclass(frozen=True, slots=True, eq=False)
class CrossPrediction:
    """Scores of every predictor on every perturbation, each predicted by its fold; by name of the predictor.

    Attributes
    ----------
    rho
        ρ⊥ of every perturbation, shape (n,); NaN where it is undefined, as for the mean throughout.
    rho_neighbors
        The same of nearest neighbours on the representation, where they were asked for.
    left_out
        ρ⊥ when all was fitted and chosen without one of the sets, shape (n_sets, n); NaN for the perturbations of the
        set, too. Of no entries without sets.
    left_out_rows
        Which perturbations each set leaves out, shape (n_sets, n).
    skill
        1 − Σ‖y − ŷ‖²/Σ‖y − m‖² over all perturbations, m the mean of each one's training profiles.
    discrimination, mae
        Of every perturbation, among those of its fold; shape (n,).
    truth
        Measured deviations from the training mean of each one's fold, shape (n, n_features).
    predicted
        Predicted ones, of the predictors that were to be kept.
    means
        Training mean m of every fold, shape (n_folds, n_features).
    shared
        v = m − control of every fold, shape (n_folds, n_features).
    penalty
        Of the ridge in every fold, shape (n_folds,); infinity where it predicts the mean.
    """

    rho: Mapping[str, Floats] = field(repr=False)
    rho_neighbors: Mapping[str, Floats] = field(repr=False)
    left_out: Mapping[str, Floats] = field(repr=False)
    left_out_rows: npt.NDArray[np.bool_] = field(repr=False)
    skill: Mapping[str, float]
    discrimination: Mapping[str, Floats] = field(repr=False)
    mae: Mapping[str, Floats] = field(repr=False)
    truth: npt.NDArray[np.float32] = field(repr=False)
    predicted: Mapping[str, npt.NDArray[np.float32]] = field(repr=False)
    means: Floats = field(repr=False)
    shared: Floats = field(repr=False)
    penalty: Mapping[str, Floats] = field(repr=False)


def cross_predict(
    priors: Mapping[str, Profiles],
    target: Profiles,
    folds: Folds,
    *,
    control: Floats | None = None,
    sets: Rows | None = None,
    fixed: Mapping[str, Profiles] | None = None,
    kept: Collection[str] = (),
    neighbors: Collection[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> CrossPrediction:
    """Predict every perturbation from every representation, folds apart.

    Parameters
    ----------
    priors
        Rows of each representation in the order of the target, shape (n, n_prior), finite: ridge regressions are
        fitted to them. The work grows with n_prior³ (`explorer.predictors.principal_prior` bounds it).
    target
        Profiles to predict, shape (n, n_features), finite.
    folds
        Who tests and who trains.
    control
        Mean profile of the controls, shape (n_features,); without one the profiles are taken to be effects, whose
        control is 0.
    sets
        Set of every block, of `explorer.folds.block_sets`: all is fitted again without the perturbations of each,
        which neither train nor are tested; who tests whom and who is in whose buffer stays. None: no jackknife.
    fixed
        Predictors that need no training: profiles, not deviations, shape (n, n_features) or (n_features,).
    kept
        Names of predictors whose predictions are returned.
    neighbors
        Names of representations from which nearest neighbours predict, too.
    seed
        Of ties and choices of the nearest neighbours.
    progress
        Called with a sentence and the share that is done, from 0 to 1.

    Returns
    -------
    CrossPrediction
        The ridge of every representation, everything fixed, and the mean under the name "mean".

    Raises
    ------
    InputError
        When a predictor is called "mean" or two are called alike, or when the buffer leaves a fold fewer than two
        training perturbations.
    """
    fixed = {} if fixed is None else fixed
    _check_names(priors, fixed)
    for number in range(folds.n_folds):
        _check_training(folds, number)
    near = [name for name in priors if name in neighbors]
    left_out_rows = np.zeros((0, len(target)), dtype=np.bool_)
    if sets is not None:
        left_out_rows = sets[folds.block] == np.arange(int(sets.max()) + 1)[:, None]
    tables = _Tables(
        names=(*priors, *fixed, MEAN), shape=target.shape, n_folds=folds.n_folds, n_sets=len(left_out_rows), kept=kept,
        neighbors=near,
    )  # fmt: skip
    n_jobs, n_done = folds.n_folds * (len(priors) + len(near) + len(fixed) + 1 + len(left_out_rows)), 0
    # One product a thread: small decompositions share two cores better than each does alone.
    with one_thread_products(), make_pool() as pool:
        for number in range(folds.n_folds):
            fold = _Fold(number, folds, priors, target, fixed=fixed, control=control, tables=tables)
            for _ in fold.predict(pool, left_out_rows, neighbors=near, seed=seed):
                n_done += 1
                if progress is not None:
                    progress(f"fold {number + 1} of {folds.n_folds}", n_done / n_jobs)
            # Before the next one takes as much memory.
            del fold
    return tables.finish(left_out_rows)


class _Tables:
    """Scores that are filled in fold by fold; every job writes entries of its own."""

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        shape: tuple[int, ...],
        n_folds: int,
        n_sets: int,
        kept: Collection[str],
        neighbors: Collection[str],
    ) -> None:
        n, n_features = shape
        self.rho = {name: np.full(n, np.nan) for name in names}
        self.rho_neighbors = {name: np.full(n, np.nan) for name in names if name in neighbors}
        self.left_out = {name: np.full((n_sets, n), np.nan) for name in names} if n_sets else {}
        self.errors = {name: np.zeros(n) for name in names}
        self.squares = np.zeros(n)
        self.discrimination = {name: np.full(n, np.nan) for name in names}
        self.mae = {name: np.full(n, np.nan) for name in names}
        self.truth = np.zeros((n, n_features), dtype=np.float32)
        self.predicted = {name: np.zeros((n, n_features), dtype=np.float32) for name in names if name in kept}
        self.means, self.shared = np.zeros((n_folds, n_features)), np.zeros((n_folds, n_features))
        self.penalty = {name: np.full(n_folds, np.nan) for name in names}

    def finish(self, left_out_rows: npt.NDArray[np.bool_]) -> CrossPrediction:
        """Freeze what was filled in."""
        total = float(self.squares.sum())
        return CrossPrediction(
            rho=self.rho,
            rho_neighbors=self.rho_neighbors,
            left_out=self.left_out,
            left_out_rows=left_out_rows,
            skill={
                name: 1 - float(errors.sum()) / total if total > 0 else float("nan")
                for name, errors in self.errors.items()
            },
            discrimination=self.discrimination,
            mae=self.mae,
            truth=self.truth,
            predicted=self.predicted,
            means=self.means,
            shared=self.shared,
            penalty={name: values for name, values in self.penalty.items() if not np.isnan(values).any()},
        )


class _Fold:
    """One fold: its profiles, made once for all predictors, and what is filled in of it."""

    def __init__(
        self,
        number: int,
        folds: Folds,
        priors: Mapping[str, Profiles],
        target: Profiles,
        *,
        fixed: Mapping[str, Profiles],
        control: Floats | None,
        tables: _Tables,
    ) -> None:
        self.number, self.tables, self.priors, self.fixed = number, tables, priors, fixed
        self.tested, self.training = folds.tested(number), folds.training(number)
        self.blocks = folds.block[self.training]
        self.trained_target = np.asarray(target[self.training], dtype=np.float64)
        self.tested_target = np.asarray(target[self.tested], dtype=np.float64)
        self.control = np.zeros(target.shape[1]) if control is None else np.asarray(control, dtype=np.float64)
        self.mean = self.trained_target.mean(axis=0)
        self.truth = self.tested_target - self.mean
        self.beyond = beyond_shared(self.truth, shared=self.mean - self.control)
        tables.means[number], tables.shared[number] = self.mean, self.mean - self.control
        tables.truth[self.tested] = self.truth
        tables.squares[self.tested] = (self.truth**2).sum(axis=1)

    def predict(
        self, pool: Executor, left_out_rows: npt.NDArray[np.bool_], *, neighbors: Collection[str], seed: int
    ) -> Iterator[None]:
        """Predict by everything, then again without each set; yields whenever a part is done."""
        trained: dict[str, RidgeTraining] = {}
        yield from _run(
            pool,
            [
                *(partial(self.predict_by_ridge, name, trained) for name in self.priors),
                *(partial(self.predict_by_neighbors, name, seed=seed) for name in self.priors if name in neighbors),
                *(partial(self.predict_fixed, name) for name in (*self.fixed, MEAN)),
            ],
        )
        yield from _run(
            pool, [partial(self.predict_without, place, rows, trained) for place, rows in enumerate(left_out_rows)]
        )

    def predict_by_ridge(self, name: str, trained: dict[str, RidgeTraining]) -> None:
        """Fit a ridge regression, keep its sums for the jackknife, and score it."""
        training = ridge_training(self._prior(name, self.training), self.trained_target)
        fit = training.fit()
        trained[name] = training
        self.tables.penalty[name][self.number] = fit.penalty
        self._score(name, fit.predict(self._prior(name, self.tested)))

    def predict_by_neighbors(self, name: str, *, seed: int) -> None:
        """Predict from nearest neighbours on a representation; only ρ⊥ is shown of it."""
        prior, asked = self._prior(name, self.training), self._prior(name, self.tested)
        predicted = nearest_neighbors(prior, self.trained_target, asked, blocks=self.blocks, seed=seed)
        self.tables.rho_neighbors[name][self.tested] = self.beyond.correlation_with(predicted)

    def predict_fixed(self, name: str) -> None:
        """Score what needs no training."""
        self._score(name, np.zeros_like(self.truth) if name == MEAN else self._fixed(name, self.tested) - self.mean)

    def predict_without(self, place: int, gone: npt.NDArray[np.bool_], trained: Mapping[str, RidgeTraining]) -> None:
        """Fit and score everything again without a set of perturbations, as if they had never been measured."""
        excluded, left = np.flatnonzero(gone[self.training]), np.flatnonzero(~gone[self.tested])
        n_left = len(self.training) - len(excluded)
        if not n_left or not len(left):
            return
        rows = self.tested[left]
        mean = self.mean + (self.mean * len(excluded) - self.trained_target[excluded].sum(axis=0)) / n_left
        beyond = beyond_shared(self.tested_target[left] - mean, shared=mean - self.control)
        for name, training in trained.items():
            fit = training.fit(excluding=excluded)
            if not fit.is_mean:
                found = beyond.correlation(*fit.predict_beyond(self._prior(name, rows), beyond.axes))
                self.tables.left_out[name][place, rows] = found
        for name in self.fixed:
            self.tables.left_out[name][place, rows] = beyond.correlation_with(self._fixed(name, rows) - mean)

    def _prior(self, name: str, rows: Rows) -> Floats:
        return np.asarray(self.priors[name][rows], dtype=np.float64)

    def _fixed(self, name: str, rows: Rows) -> Floats:
        values = self.fixed[name]
        found = np.asarray(values if values.ndim == 1 else values[rows], dtype=np.float64)
        return np.broadcast_to(found, (len(rows), self.truth.shape[1]))

    def _score(self, name: str, predicted: Floats) -> None:
        tables, rows = self.tables, self.tested
        tables.rho[name][rows] = self.beyond.correlation_with(predicted)
        tables.errors[name][rows] = ((self.truth - predicted) ** 2).sum(axis=1)
        tables.discrimination[name][rows] = discrimination(predicted, self.truth)
        tables.mae[name][rows] = mean_absolute_error(predicted, self.truth)
        if name in tables.predicted:
            tables.predicted[name][rows] = predicted


def _run(pool: Executor, jobs: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Run jobs, and say when each is done; when one fails, those that have not begun are dropped."""
    waiting = [pool.submit(job) for job in jobs]
    try:
        for done in waiting:
            yield done.result()
    finally:
        for job in waiting:
            job.cancel()


def _check_training(folds: Folds, fold: int) -> None:
    n_trained = len(folds.training(fold))
    if n_trained < 2:
        message = (
            f"only {n_trained} perturbations may train for the {len(folds.tested(fold)):,} of fold {fold + 1}, since "
            "the others share a group with them: use sources of smaller groups"
        )
        raise InputError(message)


def _check_names(priors: Mapping[str, Profiles], fixed: Mapping[str, Profiles]) -> None:
    twice = sorted((priors.keys() & fixed.keys()) | ({MEAN} & (priors.keys() | fixed.keys())))
    if twice:
        message = f"two predictors are called {listed(twice)}, and the mean is always one of them: rename one"
        raise InputError(message)
