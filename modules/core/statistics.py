"""How sure a figure is: intervals that respect that minutes of one day belong together."""

from collections.abc import Callable

import numpy as np

from modules.core.words import DAY_MINUTES, MINUTE_MS

DRAWS = 1_000
LEAST_DAYS = 3
AUC_BINS = 400
DAY_MS = DAY_MINUTES * MINUTE_MS
NORMAL = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def day_bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], parts: np.ndarray, timestamps: np.ndarray, seed: int
) -> tuple[float, float]:
    """The 95 % interval of a statistic of sums, by bootstrap over whole UTC days.

    Neighbouring minutes share their future, so rows are drawn by the day (Politis & Romano 1994 on block resampling).
    A bootstrap over few days is too narrow: it is widened about its median by Student's quantile over the normal one
    and by sqrt(D / (D - 1)), which a mean over D days would need.

    Parameters
    ----------
    statistic : (draws, P) sums -> (draws,) the statistic of each draw
    parts : (N, P) what is summed over the rows
    timestamps : (N,) Unix ms

    Returns
    -------
    lower and upper bound; NaN where fewer than ``LEAST_DAYS`` days are there
    """
    unique, position = np.unique(np.asarray(timestamps) // DAY_MS, return_inverse=True)
    parts = np.asarray(parts, float)
    sums = np.stack([np.bincount(position, weights=column, minlength=len(unique)) for column in parts.T], 1)
    return _interval(statistic, sums, seed)


def auc_interval(score: np.ndarray, happened: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % interval of the area under the ROC curve by ``day_bootstrap``, from scores in ``AUC_BINS`` quantile bins.

    Parameters
    ----------
    score, happened : (N,) numbers and bool
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, AUC_BINS + 1)[1:-1]))
    bins = len(edges) + 1
    unique, position = np.unique(np.asarray(timestamps) // DAY_MS, return_inverse=True)
    cell = (position * 2 + happened) * bins + np.searchsorted(edges, score, side="right")
    sums = np.bincount(cell, minlength=len(unique) * 2 * bins).reshape(len(unique), 2 * bins).astype(float)

    def area(counts: np.ndarray) -> np.ndarray:
        no, yes = counts[:, :bins], counts[:, bins:]
        below = np.cumsum(no, axis=1) - no / 2
        return (yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))

    return _interval(area, sums, seed)


def _interval(statistic: Callable[[np.ndarray], np.ndarray], sums: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of a statistic over (D, P) sums of D days."""
    days = len(sums)
    if days < LEAST_DAYS:
        return np.nan, np.nan
    random = np.random.Generator(np.random.PCG64(seed))
    weights = random.multinomial(days, np.full(days, 1 / days), size=DRAWS)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(weights @ sums)
    return widened(values, days)


def widened(values: np.ndarray, days: float) -> tuple[float, float]:
    """The 95 % interval of (draws,) bootstrap values of a statistic, widened as a mean over ``days`` independent days would
    need; NaN where no value is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    widen = student(days - 1) / NORMAL * np.sqrt(days / (days - 1))
    return float(middle - widen * (middle - low)), float(middle + widen * (high - middle))


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution, to 4 % from 2 degrees of freedom on: the expansion of Abramowitz &
    Stegun (1964), 26.7.5. SciPy's costs more to import than the live minute takes."""
    z, v = NORMAL, freedom
    first = (z**3 + z) / (4 * v)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return z + first + second + third


def wilson(hits: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share if the rows were independent: Wilson (1927)."""
    z2 = NORMAL**2
    centre = (hits + z2 / 2) / (rows + z2)
    half = NORMAL / (rows + z2) * np.sqrt(hits * (rows - hits) / rows + z2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def share(hits: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Share of (N,) bool hits with its 95 % interval; NaN three times where there are none.

    The interval is never narrower than that of independent rows: where all rows agree, a bootstrap would claim to know
    the share for certain.
    """
    value, low, high = mean(hits, timestamps, seed)
    if np.isnan(low):
        return value, low, high
    least = wilson(float(np.sum(hits)), len(hits))
    return value, max(0.0, min(low, least[0])), min(1.0, max(high, least[1]))


def mean(values: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean of (N,) values with its 95 % day-bootstrap interval; NaN three times where there are none."""
    values = np.asarray(values, float)
    if not len(values):
        return np.nan, np.nan, np.nan
    parts = np.stack([values, np.ones(len(values))], 1)
    low, high = day_bootstrap(lambda sums: sums[:, 0] / sums[:, 1], parts, timestamps, seed)
    return float(values.mean()), low, high


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


def warning_figures(
    figures: Figures,
    scope: str,
    timestamps: np.ndarray,
    probability: np.ndarray,
    given: np.ndarray,
    happened: np.ndarray,
    atr: np.ndarray,
    seed: int,
) -> None:
    """What early warnings were worth, each figure beside its baseline. Brings scikit-learn: not for the live minute.

    Parameters
    ----------
    probability, given, happened : (N,) calibrated probability, bool a warning was given, bool the move came
    atr : (N,) USD, the score to beat
    """
    from sklearn.metrics import roc_auc_score

    base, low, high = share(happened, timestamps, seed)
    figures.add(scope, "base rate of a move", base, len(happened), low, high)
    if happened.any() and not happened.all():
        area, alone = (float(roc_auc_score(happened, score)) for score in (probability, atr))
        low, high = auc_interval(probability, happened, timestamps, seed)
        figures.add(scope, "early warning ROC-AUC", area, len(happened), low, high, alone, "ATR alone")
    value, low, high = mean((probability - happened) ** 2, timestamps, seed)
    figures.add(scope, "early warning Brier score", value, len(happened), low, high, base * (1 - base), "always the base rate")
    value, low, high = share(happened[given], timestamps[given], seed)
    figures.add(scope, "early warning precision", value, int(given.sum()), low, high, base, "base rate")
    value, low, high = share(given[happened], timestamps[happened], seed)
    figures.add(scope, "early warning recall", value, int(happened.sum()), low, high)


def regime_figures(
    figures: Figures,
    scope: str,
    timestamps: np.ndarray,
    label: np.ndarray,
    coming: np.ndarray,
    hindsight: np.ndarray,
    horizon: int,
    seed: int,
) -> None:
    """How well regimes are named and foreseen, each figure beside "the last label persists".

    Parameters
    ----------
    label, coming, hindsight : (N,) regimes of N candles in a row: as named at the time, as foretold for ``horizon``
        candles later, and as the same model names them once it knows all candles
    """
    value, low, high = share(label == hindsight, timestamps, seed)
    persists = float((hindsight[1:] == label[:-1]).mean())
    before = "the label of the minute before persists"
    figures.add(scope, "regime accuracy", value, len(label), low, high, persists, before)
    turn = np.flatnonzero(hindsight[1:] != hindsight[:-1]) + 1
    value, low, high = share(label[turn] == hindsight[turn], timestamps[turn], seed)
    persists = float((label[turn - 1] == hindsight[turn]).mean()) if len(turn) else np.nan
    figures.add(scope, "regime accuracy in the minute of a change", value, len(turn), low, high, persists, before)
    later, now = hindsight[horizon:], hindsight[:-horizon]
    ahead, same = f"regime {horizon} minutes ahead", "the last label persists"
    value, low, high = share(coming[:-horizon] == later, timestamps[:-horizon], seed)
    persists = float((label[:-horizon] == later).mean())
    figures.add(scope, f"{ahead}, accuracy", value, len(later), low, high, persists, same)
    change = np.flatnonzero(later != now)
    value, low, high = share(coming[change] == later[change], timestamps[change], seed)
    persists = float((label[change] == later[change]).mean()) if len(change) else np.nan
    figures.add(scope, f"{ahead} where it changes, accuracy", value, len(change), low, high, persists, same)
