"""How sure a figure is: intervals that respect that minutes of one day belong together."""

from collections.abc import Callable

import numpy as np

from modules.core.words import DAY_MINUTES, MINUTE_MS

DRAWS = 1_000


def day_bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], parts: np.ndarray, timestamps: np.ndarray, seed: int, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % interval of a statistic of sums, by bootstrap over whole UTC days.

    Neighbouring minutes share their future, so rows are drawn by the day (Politis & Romano 1994 on block resampling).

    Parameters
    ----------
    statistic : (draws, P) sums -> (draws,) the statistic of each draw
    parts : (N, P) what is summed over the rows
    timestamps : (N,) Unix ms

    Returns
    -------
    lower and upper bound; NaN where fewer than two days are there
    """
    days = np.asarray(timestamps) // (DAY_MINUTES * MINUTE_MS)
    unique, position = np.unique(days, return_inverse=True)
    if len(unique) < 2:
        return np.nan, np.nan
    sums = np.stack([np.bincount(position, weights=column, minlength=len(unique)) for column in np.asarray(parts, float).T], 1)
    random = np.random.Generator(np.random.PCG64(seed))
    weights = random.multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(weights @ sums)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def share(hits: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean of (N,) values with its 95 % day-bootstrap interval; NaN three times where there are none."""
    hits = np.asarray(hits, float)
    if not len(hits):
        return np.nan, np.nan, np.nan
    parts = np.stack([hits, np.ones(len(hits))], 1)
    low, high = day_bootstrap(lambda sums: sums[:, 0] / sums[:, 1], parts, timestamps, seed)
    return float(hits.mean()), low, high


def log_loss(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Mean negative log probability of (N,) integer labels under (N, classes); NaN without rows."""
    if not len(label):
        return np.nan
    return float(-np.log(np.clip(probabilities[np.arange(len(label)), label], 1e-12, 1)).mean())


class Figures:
    """Rows for a figures table (see ``catalog.FIGURES``), gathered one by one."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(
        self,
        scope: str,
        figure: str,
        value: float,
        n: int,
        low: float = np.nan,
        high: float = np.nan,
        baseline: float = np.nan,
        baseline_is: str = "",
    ) -> None:
        self.rows.append((scope, figure, value, low, high, n, baseline, baseline_is))

    def columns(self) -> dict[str, np.ndarray]:
        names = ("scope", "figure", "value", "low", "high", "n", "baseline", "baseline_is")
        kinds = (object, object, float, float, float, np.int64, float, object)
        return {
            name: np.array([row[i] for row in self.rows], dtype=kind)
            for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
        }
