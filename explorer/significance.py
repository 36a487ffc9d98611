"""The one home of the tests that every verdict shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
