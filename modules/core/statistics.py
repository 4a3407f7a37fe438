"""How sure a figure is: intervals that respect that minutes of one day belong together."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from modules.core.catalog import FIGURES
from modules.core.tables import Columns, from_rows
from modules.core.words import DAY_MINUTES, MINUTE_MS

Statistic = Callable[[np.ndarray], np.ndarray]
DRAWS = 1_000
LEAST_DAYS = 3
AUC_BINS = 400
QUIET_LAGS = 5
SHORT_DAYS = 30
"""Days below which what one day has in common with the next cannot be told from noise, and blocks last a day."""
DEGENERATE = 1e-12
DAY_MS = DAY_MINUTES * MINUTE_MS
ALONE = "ATR alone: as many minutes of the highest ATR, picked in hindsight"
NORMAL = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def day_bootstrap(statistic: Statistic, parts: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % interval of a statistic of sums over rows, by ``interval`` over their UTC days: neighbouring minutes share
    their future, so rows are drawn by the day at least.

    Parameters
    ----------
    parts : (N, P) what is summed over the rows
    timestamps : (N,) Unix ms
    """
    return interval(statistic, by_day(parts, timestamps), seed)


def by_day(parts: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """(D, P) sums of (N, P) ``parts`` over each UTC day from the first to the last, zeros on days without a row.

    Parameters
    ----------
    timestamps : (N,) Unix ms
    """
    parts, day = np.asarray(parts, float), np.asarray(timestamps) // DAY_MS
    if not len(day):
        return np.zeros((0, parts.shape[1]))
    return np.stack([np.bincount(day - day.min(), weights=column) for column in parts.T], 1)


def interval(statistic: Statistic, days: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % interval of a statistic of sums by the stationary bootstrap (Politis & Romano 1994): blocks of days that
    begin anywhere, run on into the first day after the last, and have lengths drawn about a mean of whole days.

    The mean length is what ``block_days`` asks for, for the statistic's own days: what it would be without each of them. A
    bootstrap over few days is too narrow, so it is widened (see ``widened``) as for as many independent days as there are
    mean blocks with anything in them.

    Parameters
    ----------
    statistic : (draws, P) sums -> (draws,) the statistic of each draw
    days : (D, P) sums of each day, in their order, every day of the span among them

    Returns
    -------
    lower and upper bound; NaN where fewer than ``LEAST_DAYS`` days have anything in them
    """
    days = np.asarray(days, float)
    some = (days != 0).any(1)
    if some.sum() < LEAST_DAYS:
        return np.nan, np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        without = statistic(days.sum(0) - days)
    block = round(block_days(without)) if np.isfinite(without).all() else 1
    block = min(block, int(some.sum()) // LEAST_DAYS)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(_weights(len(days), block, seed) @ days)
    return widened(values, some.sum() / block)


def block_days(values: np.ndarray) -> float:
    """The mean block length for the mean of (D,) daily values that estimates its variance best, in days and at least one:
    the rule of Politis & White (2004) as corrected by Patton, Politis & White (2009). One below ``SHORT_DAYS``."""
    count = len(values)
    centred = values - values.mean() if count else values
    longest = int(np.ceil(np.sqrt(count))) + QUIET_LAGS
    if count < SHORT_DAYS or np.ptp(values) <= DEGENERATE * np.abs(values).max():
        return 1.0
    covariance = np.array([centred[lag:] @ centred[: count - lag] for lag in range(longest + 1)]) / count
    if not covariance[0]:  # squares too small for a float
        return 1.0
    loud = np.abs(covariance[1:] / covariance[0]) >= 2 * np.sqrt(np.log10(count) / count)
    # The first lag behind which the next ones are all within noise; where there is none, the last loud one.
    behind = [lag for lag in range(longest - QUIET_LAGS + 1) if not loud[lag : lag + QUIET_LAGS].any()]
    last = behind[0] if behind else int(np.flatnonzero(loud)[-1]) + 1
    width = min(2 * max(last, 1), longest)
    lags = np.arange(1, width + 1)
    window = np.minimum(1, 2 * (1 - lags / width))  # a flat top, then down to zero
    spectrum = covariance[0] + 2 * (window @ covariance[1 : width + 1])
    bend = 2 * ((window * lags) @ covariance[1 : width + 1])
    if abs(spectrum) <= DEGENERATE * covariance[0]:
        return 1.0
    longest_block = np.ceil(min(3 * np.sqrt(count), count / 3))
    return float(np.clip(np.cbrt((bend / spectrum) ** 2 * count), 1, longest_block))


@lru_cache(maxsize=4)
def _weights(count: int, block: int, seed: int) -> np.ndarray:
    """(DRAWS, count) how often each resample holds each row."""
    drawn = stationary(count, block, np.random.Generator(np.random.PCG64(seed)))
    places = drawn + count * np.arange(DRAWS)[:, None]
    return np.bincount(places.ravel(), minlength=DRAWS * count).reshape(DRAWS, count).astype(float)


def stationary(count: int, block: float, random: np.random.Generator) -> np.ndarray:
    """(DRAWS, count) rows of each resample of ``interval``."""
    begins = random.random((DRAWS, count)) < 1 / block
    begins[:, 0] = True
    start = random.integers(count, size=(DRAWS, count))
    at = np.arange(count)
    begun = np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    return (np.take_along_axis(start, begun, 1) + at - begun) % count


def auc_interval(score: np.ndarray, happened: np.ndarray, timestamps: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % interval of the area under the ROC curve by ``day_bootstrap``, from scores in ``AUC_BINS`` quantile bins.

    Parameters
    ----------
    score, happened : (N,) numbers and bool
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, AUC_BINS + 1)[1:-1]))
    bins = len(edges) + 1
    day = np.asarray(timestamps) // DAY_MS
    day = day - day.min()
    cell = (day * 2 + happened) * bins + np.searchsorted(edges, score, side="right")
    sums = np.bincount(cell, minlength=(day.max() + 1) * 2 * bins).reshape(-1, 2 * bins).astype(float)

    def area(counts: np.ndarray) -> np.ndarray:
        no, yes = counts[:, :bins], counts[:, bins:]
        below = np.cumsum(no, axis=1) - no / 2
        return (yes * below).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))

    return interval(area, sums, seed)


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

    def columns(self) -> Columns:
        return from_rows(FIGURES, self.rows)


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
    """What early warnings were worth, each figure beside its baseline: the base rate, and the ATR alone, which warns in as
    many minutes (see ``loudest``). Brings scikit-learn: not for the live minute.

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
    warning_precision(figures, scope, timestamps, given, happened, atr, seed)
    value, low, high = share(given[happened], timestamps[happened], seed)
    alone = float(loudest(atr, int(given.sum()))[happened].mean()) if happened.any() else np.nan
    figures.add(scope, "early warning recall", value, int(happened.sum()), low, high, alone, ALONE)


def warning_precision(
    figures: Figures, scope: str, timestamps: np.ndarray, given: np.ndarray, happened: np.ndarray, atr: np.ndarray, seed: int
) -> None:
    """The precision of early warnings, once beside the base rate and once beside the ATR alone; arguments as in
    ``warning_figures``."""
    value, low, high = share(happened[given], timestamps[given], seed)
    count = int(given.sum())
    base = float(happened.mean()) if len(happened) else np.nan
    alone = float(happened[loudest(atr, count)].mean()) if count else np.nan
    figures.add(scope, "early warning precision", value, count, low, high, base, "base rate")
    figures.add(scope, "early warning precision, against the ATR", value, count, low, high, alone, ALONE)


def loudest(atr: np.ndarray, count: int) -> np.ndarray:
    """(N,) bool: the ``count`` minutes of the highest ATR. The threshold is picked in hindsight, from the very minutes that
    are judged, which no warning can do: it flatters the ATR, and so is the harder baseline."""
    loud = np.zeros(len(atr), bool)
    loud[np.argsort(-atr, kind="stable")[:count]] = True
    return loud


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
