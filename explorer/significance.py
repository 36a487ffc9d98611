"""The one home of the tests that every verdict shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

# Up to so many units that differ, every choice of signs is taken; beyond, so many are drawn.
MOST_ENUMERATED = 12
N_FLIPS = 9_999
# What a test at 5 % detects with a probability of 80 % lies this many standard errors beyond its own threshold.
_POWER_80 = 0.84
# Sums that differ by less, relative to the largest that can be, differ by rounding.
_ROUNDING = 1e-10
_SIGNS_AT_ONCE = 2**22


def benjamini_hochberg(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust p-values for the false discovery rate.

    Parameters
    ----------
    p
        p-values, shape (n_tests,); NaN marks what was not tested.

    Returns
    -------
    numpy.ndarray
        q-values, shape (n_tests,), at most 1, monotone in p; NaN where p is NaN.

    References
    ----------
    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    p = np.asarray(p, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(-p[tested], kind="stable")]
    ranks = np.arange(len(order), 0, -1)
    q[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(order) / ranks))
    return q


def hypergeometric_upper_tail(
    overlap: npt.ArrayLike, set_size: npt.ArrayLike, *, n_drawn: int, n_total: int
) -> npt.NDArray[np.float64]:
    """Probability of an overlap at least this large when `n_drawn` of `n_total` are drawn at random.

    Parameters
    ----------
    overlap, set_size
        Members drawn, and members there are, shape (n_sets,).
    n_drawn, n_total
        Number drawn, and number there are to draw from.

    Returns
    -------
    numpy.ndarray
        P(X ≥ overlap), shape (n_sets,); 1 where the overlap is 0.
    """
    # The sum has at most n_drawn terms, so it is taken directly: importing scipy.stats would cost a second.
    from scipy.special import gammaln

    def log_choose(n: npt.NDArray[np.float64], k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    overlap = np.asarray(overlap, dtype=np.float64)[:, None]
    set_size = np.asarray(set_size, dtype=np.float64)[:, None]
    drawn = np.arange(n_drawn + 1, dtype=np.float64)[None, :]
    possible = (drawn >= overlap) & (drawn <= set_size) & (n_drawn - drawn <= n_total - set_size)
    inside = np.where(possible, drawn, np.maximum(0, n_drawn - (n_total - set_size)))
    log_p = (
        log_choose(set_size, inside)
        + log_choose(n_total - set_size, n_drawn - inside)
        - log_choose(np.array([[float(n_total)]]), np.array([[float(n_drawn)]]))
    )
    tail = np.where(possible, np.exp(log_p), 0.0).sum(axis=1)
    return np.where(overlap[:, 0] <= 0, 1.0, np.minimum(1.0, tail))


def add_one_p(
    null: npt.NDArray[np.float64],
    observed: npt.NDArray[np.float64],
    *,
    tolerance: npt.NDArray[np.float64] | float = 0.0,
) -> npt.NDArray[np.float64]:
    """Share of a null at least as large as what was observed, the observed one counted in.

    Parameters
    ----------
    null
        Shape (n_null,); NaN entries say nothing and are left out.
    observed
        Shape (n,); NaN gives NaN, as does a null without a single value.
    tolerance
        Differences this small come from rounding and count as equal.

    References
    ----------
    Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    valid = np.sort(null[~np.isnan(null)])
    if not len(valid):
        return np.full(len(observed), np.nan)
    exceeding = len(valid) - np.searchsorted(valid, observed - tolerance, side="left")
    return np.where(np.isnan(observed), np.nan, (1 + exceeding) / (1 + len(valid)))


@dataclass(frozen=True, slots=True)
class SignFlip:
    """A mean difference over units, its interval and its p from random signs of the units.

    Attributes
    ----------
    estimate
        Mean contribution of a unit; NaN where there is no unit.
    half_width
        95 % quantile of the absolute mean under random signs.
    p
        Share of random signs whose absolute mean is at least that of the estimate; below or equal to .05 exactly
        where the interval excludes 0. Add-one where signs were drawn, exact where all were taken.
    n_units, n_discordant
        Units, and those whose contribution is not 0.
    smallest_detectable
        True difference that this test would find with a probability of 80 %.
    is_exact
        Whether every choice of signs was taken.
    """

    estimate: float
    half_width: float
    p: float
    n_units: int
    n_discordant: int
    smallest_detectable: float
    is_exact: bool

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.estimate - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.estimate + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is significant at 5 %, two-sided."""
        return abs(self.estimate) > self.half_width

    def times(self, factor: float) -> SignFlip:
        """Say the same of another unit of measure: of sums instead of means with ``n_units``, for one."""
        return replace(
            self,
            estimate=self.estimate * factor,
            half_width=self.half_width * factor,
            smallest_detectable=self.smallest_detectable * factor,
        )


def sign_flip(contributions: npt.ArrayLike, *, seed: int = 0, n_flips: int = N_FLIPS) -> SignFlip:
    """Test whether units contribute as much to one side as to the other, by flipping their signs at random.

    Parameters
    ----------
    contributions
        Difference that each unit makes, shape (n_units,), finite.
    seed
        Of the signs, where they are drawn.
    n_flips
        Number of draws where more than 12 units differ.

    Returns
    -------
    SignFlip
        NaN throughout where there is no unit. Turning all signs round turns the estimate round and nothing else.

    Raises
    ------
    ValueError
        When a contribution is not finite.

    References
    ----------
    Fisher 1935, The Design of Experiments; Phipson and Smyth 2010, doi:10.2202/1544-6115.1585 (add-one).
    """
    return sign_flips([contributions], seed=seed, n_flips=n_flips)[0]


def sign_flips(
    contributions: Sequence[npt.ArrayLike], *, seed: int = 0, n_flips: int = N_FLIPS
) -> tuple[SignFlip, ...]:
    """Test several sets of contributions, each as `sign_flip` would alone."""
    columns = [np.asarray(column, dtype=np.float64).ravel() for column in contributions]
    for column in columns:
        if not np.isfinite(column).all():
            msg = "a contribution is NaN or infinite: leave units without a score out, or count them as 0"
            raise ValueError(msg)
    # Rounded to what the sums can tell apart, so that equal contributions tie whatever made them.
    discordant = [column[np.abs(column) > _ROUNDING * max(1.0, np.abs(column).max(initial=0.0))] for column in columns]
    drawn = [place for place, column in enumerate(discordant) if len(column) > MOST_ENUMERATED]
    sums: dict[int, npt.NDArray[np.float64]] = {}
    # Columns of one length share one set of signs, which costs more to draw than to use.
    for length in {len(discordant[place]) for place in drawn}:
        places = [place for place in drawn if len(discordant[place]) == length]
        found = _drawn_sums(np.column_stack([discordant[place] for place in places]), seed=seed, n_flips=n_flips)
        sums.update(zip(places, found.T, strict=True))
    return tuple(
        _tested(column, differing, sums.get(place))
        for place, (column, differing) in enumerate(zip(columns, discordant, strict=True))
    )


def _tested(
    column: npt.NDArray[np.float64], discordant: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64] | None
) -> SignFlip:
    n, differing = len(column), len(discordant)
    if n == 0:
        nan = float("nan")
        return SignFlip(nan, nan, nan, 0, 0, nan, True)
    total = float(discordant.sum())
    null = np.abs(_every_sum(discordant) if drawn is None else drawn)
    tolerance = _ROUNDING * max(float(np.abs(discordant).sum()), 1e-300)
    reached = int((null >= abs(total) - tolerance).sum())
    # The observed signs are one of all choices already, and are added to a draw.
    n_choices = len(null) + (drawn is not None)
    p = (reached + (drawn is not None)) / n_choices
    # The interval excludes 0 exactly where p is 5 % or less: it is the first null value that leaves too many.
    allowed = int(np.floor(0.05 * n_choices + 1e-9)) - (drawn is not None)
    half_width = float(np.partition(null, len(null) - 1 - allowed)[len(null) - 1 - allowed]) if differing else 0.0
    spread = float(np.sqrt((discordant**2).sum()))
    if abs(abs(total) - half_width) <= tolerance:
        half_width = abs(total)
    return SignFlip(
        estimate=total / n,
        half_width=half_width / n,
        p=p,
        n_units=n,
        n_discordant=differing,
        smallest_detectable=(half_width + _POWER_80 * spread) / n,
        is_exact=drawn is None,
    )


def _every_sum(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum values under every choice of signs, shape (2 ** n_values,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _drawn_sums(columns: npt.NDArray[np.float64], *, seed: int, n_flips: int) -> npt.NDArray[np.float64]:
    """Sum columns under random signs of the rows, shape (n_flips, n_columns)."""
    rng = np.random.default_rng(seed)
    n = len(columns)
    width = -(-n // 8)
    total = columns.sum(axis=0)
    step = max(1, _SIGNS_AT_ONCE // max(n, 1))
    sums = np.empty((n_flips, columns.shape[1]))
    for start in range(0, n_flips, step):
        rows = min(step, n_flips - start)
        bits = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        signs = np.unpackbits(bits, axis=1, count=n).astype(np.float64)
        sums[start : start + rows] = 2 * (signs @ columns) - total
    return sums


def effective_units(contributions: npt.ArrayLike) -> float:
    """Count how many units make up a sum, equal ones counting 1 each: (Σc²)² / Σc⁴; NaN where none differs."""
    squares = np.asarray(contributions, dtype=np.float64) ** 2
    fourth = float((squares**2).sum())
    return float(squares.sum() ** 2 / fourth) if fourth > 0 else float("nan")


def fisher_exact(table: npt.ArrayLike) -> float:
    """Test whether the rows and columns of a table of counts go together: Fisher's exact test, two-sided.

    Parameters
    ----------
    table
        Counts, shape (2, 2).

    Returns
    -------
    float
        Probability of a table at most as likely as this one, its margins given; 1 where a margin is empty.

    References
    ----------
    Fisher 1922, doi:10.2307/2340521.
    """
    from scipy.special import gammaln

    counts = np.asarray(table, dtype=np.int64)
    (a, b), (c, d) = counts.tolist()
    rows, columns, total = (a + b, c + d), (a + c, b + d), a + b + c + d
    possible = np.arange(max(0, columns[0] - rows[1]), min(rows[0], columns[0]) + 1, dtype=np.float64)

    def log_choose(n: float, k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    logs = log_choose(rows[0], possible) + log_choose(rows[1], columns[0] - possible)
    logs = logs - log_choose(total, np.array(float(columns[0])))
    own = logs[int(a - possible[0])]
    # Equally likely tables differ by rounding.
    return float(min(1.0, np.exp(logs[logs <= own + 1e-7]).sum()))
