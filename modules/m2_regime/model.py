"""The regime of each candle, what comes next, and early warnings. Pure functions over N rows; N is 1 in the live cycle.

Each result of row t is made of rows <= t by element-wise arithmetic in a fixed order, so that it is the same to the
last bit whatever follows and however many rows are computed at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modules.core import evidence
from modules.core.calibration import platt
from modules.core.catalog import NEXT
from modules.core.history import inputs
from modules.core.labels import move_points
from modules.core.settings import Regime, Settings
from modules.core.tables import Columns
from modules.core.trees import Trees
from modules.core.words import (
    BEARISH_REGIMES,
    BULLISH_REGIMES,
    DAY_MINUTES,
    MINUTE_MS,
    OK,
    REGIMES,
    VOLATILE_REGIMES,
    session_names,
)

AXES = ("trend", "volatility", "place")
"""What a regime is told by: columns of the features table."""
PATH = (*AXES, "close", "atr")
"""What module 2 looks back on, minute by minute: the axes, and what tells where they will go."""
BACK, KEPT = 15, 45
"""Minutes. ``KEPT`` is how much of the hour that the trend looks back on still counts ``BACK`` minutes later; the memory
of the filter (its setting has a lower bound) covers both."""
FAR = 2.5
"""Standard deviations beyond which an input of the foresight says no more: the months to come go beyond what was learned."""

PROTOTYPES = {
    "TREND_UP": (1.0, 0.6, 0.8),
    "TREND_DOWN": (-1.0, 0.6, -0.8),
    "RANGE_HIGH": (0.0, -0.1, 0.8),
    "RANGE_LOW": (0.0, -0.1, -0.8),
    "VOLATILE_UP": (0.8, 1.6, 0.6),
    "VOLATILE_DOWN": (-0.8, 1.6, -0.6),
    "STABLE_HIGH": (0.0, -1.1, 0.8),
    "STABLE_LOW": (0.0, -1.1, -0.8),
}
"""What each name means: where a regime lies on the axes, in standard deviations. Training starts there and stays near."""


@dataclass(frozen=True)
class RegimeModel:
    """A hidden Markov chain over the eight regimes, each a Gaussian over the D standardised axes.

    Parameters
    ----------
    centre, scale : (D,) mean and standard deviation of the axes on the training rows
    means : (8, D)
    precisions : (8, D, D) upper-triangular Cholesky factors of the inverse covariances
    transitions : (8, 8) probability from the row's regime to the column's within one candle
    start : (8,) the chain's long-run shares, from which each filter starts
    ahead : (8, 8) ``transitions`` over one label horizon
    """

    centre: np.ndarray
    scale: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    transitions: np.ndarray
    start: np.ndarray
    ahead: np.ndarray

    @classmethod
    def of(
        cls,
        centre: np.ndarray,
        scale: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray,
        transitions: np.ndarray,
        horizon: int,
    ) -> "RegimeModel":
        """From (8, D, D) covariances; the long-run shares and the chain over the horizon follow from the transitions."""
        start = np.linalg.matrix_power(transitions, 100_000)[0]
        factors = np.linalg.cholesky(np.linalg.inv(covariances))
        ahead = np.linalg.matrix_power(transitions, horizon)
        return cls(centre, scale, means, factors, transitions, start / start.sum(), ahead)

    def log_densities(self, axes: np.ndarray) -> np.ndarray:
        """(8, N) log density of (N, D) rows under each regime."""
        standard = ((axes - self.centre) / self.scale).T
        dimensions = len(standard)
        result = np.empty((len(self.means), standard.shape[1]))
        for k, (mean, factor) in enumerate(zip(self.means, self.precisions, strict=True)):
            distance = np.zeros(standard.shape[1])
            for column in range(dimensions):
                projected = np.zeros(standard.shape[1])
                for row in range(column, dimensions):
                    projected += (standard[row] - mean[row]) * factor[row, column]
                distance += projected * projected
            constant = np.log(np.diag(factor)).sum() - 0.5 * dimensions * np.log(2 * np.pi)
            result[k] = constant - 0.5 * distance
        return result

    def filtered(self, axes: np.ndarray, memory: int, count: int | None = None) -> np.ndarray:
        """(count, 8) probability of each regime at the last ``count`` rows (default: all), given the row and at most
        ``memory`` - 1 rows before it: the forward pass of Rabiner (1989), "A tutorial on hidden Markov models", III.A.

        The filter of each row starts ``memory`` rows back from the chain's long-run shares. A bounded memory makes the
        live row, which has only the rows on disk, and the row of a long history the same. Rows of ``axes`` with a NaN
        carry no evidence: the chain moves on without them.
        """
        densities = self.log_densities(axes)
        likelihood = np.maximum(np.exp(densities - densities.max(axis=0)), 1e-12)
        likelihood[:, np.isnan(densities).any(axis=0)] = 1.0
        rows = likelihood.shape[1]
        count = rows if count is None else count
        first = rows - count
        state = np.repeat(self.start[:, None], count, axis=1)
        for back in range(memory - 1, -1, -1):
            moved = np.zeros_like(state)
            for origin in range(len(REGIMES)):
                moved += self.transitions[origin][:, None] * state[origin]
            skip = max(0, back - first)
            if skip < count:
                moved[:, skip:] *= likelihood[:, first + skip - back : rows - back]
            total = np.zeros(count)
            for regime in range(len(REGIMES)):
                total += moved[regime]
            state = moved / total
        return state.T


@dataclass(frozen=True)
class Foresight:
    """The regime one label horizon later: a multinomial logistic regression on the path of the axes.

    The axes look back on half an hour to eight hours. What leaves their windows next is known now, and it foretells more
    than the chain does, which knows the present regime only.

    Parameters
    ----------
    centre, scale : (F,) mean and standard deviation of the inputs on the training rows
    weights : (8, F + F (F + 1) / 2) over the standardised inputs and their products
    intercept : (8,)
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray

    def probabilities(self, path: np.ndarray, count: int) -> np.ndarray:
        """(count, 8) of the last ``count`` rows of ``path`` (M, 5); NaN where a minute that is looked back on is unknown."""
        odds = np.repeat(self.intercept[:, None], count, axis=1)
        for column, weight in zip(terms(foresight_inputs(path, count), self.centre, self.scale), self.weights.T, strict=True):
            odds += weight[:, None] * column
        likelihood = np.exp(odds - odds.max(axis=0))
        total = np.zeros(count)
        for regime in range(len(REGIMES)):
            total += likelihood[regime]
        return (likelihood / total).T


def foresight_inputs(path: np.ndarray, count: int) -> np.ndarray:
    """(count, F) of the last ``count`` rows of ``PATH``: the axes now and ``BACK`` minutes ago, the return of the last
    ``KEPT`` minutes over its usual size, and ln of the ATR over the close; NaN where one is unknown."""
    axes, now = len(AXES), path[len(path) - count :]

    def ago(minutes: int) -> np.ndarray:
        rows = np.arange(len(path) - count, len(path)) - minutes
        return np.where(rows[:, None] >= 0, path[np.maximum(rows, 0)], np.nan)

    close, atr = now[:, axes], np.maximum(now[:, axes + 1], 1e-9)
    kept = np.log(close / ago(KEPT)[:, axes]) * close / (atr * np.sqrt(KEPT))
    return np.column_stack([now[:, :axes], ago(BACK)[:, :axes], kept, np.log(atr / close)])


def terms(rows: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
    """(N,) columns: the standardised inputs, cut off at ``FAR``, then each product of two."""
    columns = list(np.clip((rows - centre) / scale, -FAR, FAR).T)
    yield from columns
    for i, column in enumerate(columns):
        yield from (column * other for other in columns[i:])


def next_probabilities(coming: np.ndarray, said: Columns, constants: Regime) -> np.ndarray:
    """(N, 8) probability of each regime one label horizon later, shifted by what whales and news say, renormalised.

    Parameters
    ----------
    coming : (N, 8) as the path of the axes foretells it
    said : (N,) whale_alert_score, impact_type, trajectory, volatility of the minute before
    """
    coming = coming.copy()
    whale = (said["whale_alert_score"] > constants.whale_alert) & (evidence.whale_sign(said["impact_type"]) < 0)
    bullish = said["trajectory"] > constants.strong_trajectory
    volatile = said["volatility"] > constants.volatile_above
    for favoured, where, boost in (
        (BEARISH_REGIMES, whale, constants.whale_bearish),
        (BULLISH_REGIMES, bullish, constants.bullish_sentiment),
        (VOLATILE_REGIMES, volatile, constants.volatile_sentiment),
    ):
        for regime in favoured:
            coming[:, REGIMES.index(regime)] += boost / len(favoured) * where
    total = np.zeros(len(coming))
    for column in range(len(REGIMES)):
        total += coming[:, column]
    return coming / total[:, None]


def warning_thresholds(timestamps: np.ndarray, atr_ratio: np.ndarray, settings: Settings) -> np.ndarray:
    """(N,) the probability at which a warning is given: by session, and higher where the market is excited already."""
    by_session = [getattr(settings.warning, name) for name in session_names(timestamps, settings.sessions.starts)]
    excited = np.asarray(atr_ratio) > settings.warning.excited_atr_ratio
    return np.where(excited, settings.warning.excited, np.array(by_session, float))


def warnings(probability: np.ndarray, threshold: np.ndarray, coming: np.ndarray, margin: float) -> np.ndarray:
    """(N,) "none", "move", or "up" / "down" where the next-regime probabilities support one side by the margin."""
    up = coming[:, [REGIMES.index(regime) for regime in BULLISH_REGIMES]].sum(axis=1)
    down = coming[:, [REGIMES.index(regime) for regime in BEARISH_REGIMES]].sum(axis=1)
    side = np.where(up - down > margin, "up", np.where(down - up > margin, "down", "move"))
    return np.where(probability >= threshold, side, "none").astype(object)


@dataclass(frozen=True)
class Warner:
    """The early warning's model: how far the price will go within the horizon, and so how likely beyond a distance.

    The excursion tells more of each minute than whether it reached the distance, and does not drift with the price.

    Parameters
    ----------
    weights, intercept : of the linear regression of ln(excursion / close) over ``volatilities``
    trees : what the other inputs add to it
    slope, shift : calibration of the probability (Platt)
    """

    weights: list[float]
    intercept: float
    trees: Trees
    slope: float = 1.0
    shift: float = 0.0

    def probability(self, volatilities: np.ndarray, rows: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """(N,) calibrated probability that a move comes within the horizon.

        A Brownian motion takes (half-width / volatility)² on average to leave a band, so it leaves at a rate that goes
        with (excursion / distance)², and every second time where the two are equal.

        Parameters
        ----------
        volatilities : (N, 3) of ``volatilities``
        rows : (N, F) inputs of the trees, of ``warner_rows``
        reach : (N,) ln(distance of a move / close)
        """
        excursion = self.intercept + self.trees.predict(rows, raw=True)[:, 0]
        for weight, column in zip(self.weights, volatilities.T, strict=True):
            excursion += weight * column
        return platt(-np.expm1(-np.log(2) * np.exp(2 * (excursion - reach))), self.slope, self.shift)


def volatilities(features: Columns) -> np.ndarray:
    """(N, 3) what the excursion is proportional to: ln(ATR / close), the half hour's volatility, ln(ATR over the day's)."""
    ratio = np.maximum(features["atr"], 1e-9) / features["close"]
    return np.stack([np.log(ratio), features["volatility"], np.log(np.maximum(features["atr_ratio"], 1e-9))], 1)


def reach(features: Columns, settings: Settings) -> np.ndarray:
    """(N,) ln of the distance that counts as a move, over the close."""
    close = features["close"]
    return np.log(move_points(close, settings.labels.move_points, settings.labels.move_bps) / close)


CLOCK = ("clock_minute_of_day", "clock_weekday", "clock_minute_of_hour")
"""What the warner knows beside the features and the evidence: volatility has its hours."""


def clock(timestamps: np.ndarray) -> np.ndarray:
    """(N, 3) ``CLOCK``; weekday 0 is a Thursday, as the first day of 1970 was."""
    minutes = timestamps // MINUTE_MS
    return np.stack([minutes % DAY_MINUTES, minutes // DAY_MINUTES % 7, minutes % 60], 1)


def warner_rows(features: Columns, names: list[str], said: Columns) -> np.ndarray:
    """(N, F) inputs of the warner's trees: the named features, the evidence, the clock."""
    return np.hstack([inputs(features, names), evidence.encode(said), clock(features["timestamp"])])


@dataclass(frozen=True)
class Models:
    """All that module 2 has learned; ``inputs`` are the warner's from the features table, before the evidence."""

    regimes: RegimeModel
    foresight: Foresight | None
    warner: Warner
    inputs: list[str]


def regimes_along(
    regimes: RegimeModel, foresight: Foresight | None, path: np.ndarray, said: Columns, constants: Regime
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 8) filtered and (N, 8) next-regime probabilities of the last N rows of ``path``, as many as ``said`` has.

    By the chain alone where there is no foresight, or it lacks a minute.
    """
    count = len(said["trajectory"])
    state = regimes.filtered(path[:, : len(AXES)], constants.memory, count)
    coming = np.zeros_like(state)
    for origin in range(len(REGIMES)):
        coming += state[:, origin, None] * regimes.ahead[origin]
    if foresight:
        foreseen = foresight.probabilities(path, count)
        coming = np.where(np.isnan(foreseen), coming, foreseen)
    return state, next_probabilities(coming, said, constants)


def answer(models: Models, path: np.ndarray, features: Columns, said: Columns, settings: Settings) -> dict[str, Columns]:
    """The rows of the three live tables for N candles.

    Parameters
    ----------
    path : (M, 5) ``PATH`` of the minutes up to the last of the N candles, M >= N; NaN where a minute is unknown
    features : (N,) columns of the features table
    said : (N,) evidence of the minute before each candle
    """
    stamps = features["timestamp"]
    state, coming = regimes_along(models.regimes, models.foresight, path, said, settings.regime)
    rows = warner_rows(features, models.inputs, said)
    probability = models.warner.probability(volatilities(features), rows, reach(features, settings))
    threshold = warning_thresholds(stamps, features["atr_ratio"], settings)
    warning = warnings(probability, threshold, coming, settings.warning.direction_margin)
    likeliest = state.argmax(axis=1)
    why = [""] * len(stamps)
    for i in np.flatnonzero(warning != "none"):
        why[i] = _triggers(int(i), probability, threshold, features, coming, said, settings)
    status = np.full(len(stamps), OK, object)
    return {
        "current_regime": {
            "timestamp": stamps,
            "regime": np.array(REGIMES, object)[likeliest],
            "confidence": state[np.arange(len(stamps)), likeliest],
            "status": status,
        },
        "next_regime_probs": {
            "timestamp": stamps,
            **{column.name: coming[:, i] for i, column in enumerate(NEXT)},
            "status": status,
        },
        "early_warnings": {
            "timestamp": stamps,
            "warning": warning,
            "probability": probability,
            "threshold": threshold,
            "triggers": np.array(why, object),
            "status": status,
        },
    }


def _triggers(
    i: int,
    probability: np.ndarray,
    threshold: np.ndarray,
    features: Columns,
    coming: np.ndarray,
    said: Columns,
    settings: Settings,
) -> str:
    """What speaks for the warning of row i, in words."""
    session = session_names(features["timestamp"][i : i + 1], settings.sessions.starts)[0]
    reasons = [f"probability {probability[i]:.2f} >= {threshold[i]:.2f} ({session})"]
    if features["atr_ratio"][i] > settings.warning.excited_atr_ratio:
        reasons.append(f"ATR {features['atr_ratio'][i]:.1f} times its mean of the day")
    likeliest = int(np.argmax(coming[i]))
    reasons.append(f"next regime {REGIMES[likeliest]} ({coming[i, likeliest]:.2f})")
    if said["whale_alert_score"][i] > settings.regime.whale_alert and said["impact_type"][i] != "none":
        reasons.append(f"whale {said['impact_type'][i]} ({said['whale_alert_score'][i]:.2f})")
    if abs(said["trajectory"][i]) > settings.regime.strong_trajectory:
        reasons.append(f"sentiment {said['trajectory'][i]:+.2f}")
    return "; ".join(reasons)
