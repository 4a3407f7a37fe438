"""Market regime: is there a trend, how strong, is it dying, and how wild is the market for its day."""

import math
from functools import partial

import numpy as np

from modules.core.talib_light import talib
from modules.core.words import DAY_MINUTES
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    changed,
    close_mean,
    high_low,
    highest_high,
    log_return,
    lowest_low,
    true_range,
    volatility,
    wilder_rows,
)
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

RANK_STEP = 15
CALM, WILD = 1 / 3, 2 / 3
LEAST_RESIDUE = 1e-6
"""Unexplained share of a straight line's variance, so that its t-statistic ends near 1000 sqrt(n)."""

feature = partial(Feature, "market_regime")


@shared
def no_direction(market: Market, window: int) -> np.ndarray:
    """Where neither high nor low went beyond the candle before for three windows.

    TA-Lib then holds DX and ADX at their last values for ever, and divides vanishing numbers for +DI and -DI.
    """
    moves = talib.PLUS_DM(market["high"], market["low"], 1) + talib.MINUS_DM(market["high"], market["low"], 1)
    return rolling.highest(moves, 3 * window) == 0


@shared
def plus_di(market: Market, window: int) -> Array:
    """+DI (Wilder 1978), 0 .. 100; 0 without any direction."""
    value = talib.PLUS_DI(market["high"], market["low"], market["close"], window)
    return np.where(no_direction(market, window), 0.0, value)


@shared
def minus_di(market: Market, window: int) -> Array:
    """-DI (Wilder 1978), 0 .. 100; 0 without any direction."""
    value = talib.MINUS_DI(market["high"], market["low"], market["close"], window)
    return np.where(no_direction(market, window), 0.0, value)


@shared
def adx(market: Market, window: int) -> Array:
    """Average directional index (Wilder 1978), 0 .. 100.

    Wilder's average (an EMA of 2 window - 1) of TA-Lib's DX, which counts as 0 without any direction: in a halt ADX
    fades, where TA-Lib's own would stand still and never forget what was before it.
    """
    value = talib.DX(market["high"], market["low"], market["close"], window)
    return talib.EMA(np.where(no_direction(market, window), 0.0, value), 2 * window - 1)


def di_difference(market: Market, window: int) -> Array:
    """+DI less -DI."""
    return plus_di(market, window) - minus_di(market, window)


def trend_decay(market: Market, window: int) -> Array:
    """ADX 14 less its highest of the window: 0 at full strength."""
    return adx(market, 14) - rolling.highest(adx(market, 14), window)


@shared
def close_trend(market: Market, window: int) -> tuple[Array, Array]:
    """Least squares of the close on time: slope in points a minute, correlation."""
    return rolling.trend(market["close"], window)


def trend_slope(market: Market, window: int) -> Array:
    """Rise of the regression line over the window, relative to the close."""
    return close_trend(market, window)[0] * window / market["close"]


def trend_t(market: Market, window: int) -> Array:
    """t-statistic of the slope: r sqrt((n - 2) / (1 - r^2)). For ranking: minutes of a price are not independent."""
    r = close_trend(market, window)[1]
    return r * np.sqrt((window - 2) / np.maximum(1 - r * r, LEAST_RESIDUE))


def trend_fit(market: Market, window: int) -> Array:
    """R squared of the regression line."""
    r = close_trend(market, window)[1]
    return r * r


@shared
def efficiency(market: Market, window: int) -> Array:
    """Kaufman's (1995) efficiency ratio: net move over the path, 0 .. 1; 0 in a dead market."""
    close = market["close"]
    path = rolling.total(np.abs(close - rolling.lag(close, 1)), window)
    return rolling.ratio(np.abs(close - rolling.lag(close, window)), path)


def average_order(market: Market) -> Array:
    """1 where the averages of 7, 25, 99 and 200 rows stand in order from the top, -1 from the bottom, else between."""
    steps = [np.sign(close_mean(market, a) - close_mean(market, b)) for a, b in ((7, 25), (25, 99), (99, 200))]
    return (steps[0] + steps[1] + steps[2]) / 3


def variance_ratio(market: Market, horizon: int, window: int) -> Array:
    """Lo & MacKinlay (1988): variance of the horizon's returns over that of a random walk; 1 in a dead market."""
    spread = rolling.deviation(log_return(market, horizon), window)
    walk = horizon * rolling.deviation(log_return(market, 1), window) ** 2
    return rolling.ratio(spread * spread, walk, empty=1.0)


def autocorrelation(market: Market, window: int) -> Array:
    """Correlation of one-minute log returns with those a minute before."""
    moves = log_return(market, 1)
    return rolling.correlation(moves, rolling.lag(moves, 1), window)


def choppiness(market: Market, window: int) -> Array:
    """Dreiss' choppiness: 100 log10(sum of true ranges / range) / log10(n); 100 in a window without range."""
    span = highest_high(market, window) - lowest_low(market, window)
    walked = rolling.ratio(rolling.total(true_range(market), window), span, empty=float(window))
    return 100 * np.log10(walked) / math.log10(window)


@shared
def volatility_rank(market: Market) -> Array:
    """Share of the day before, looked at every 15 minutes, that was calmer than the last hour; equals count half."""
    now = volatility(market, 60)
    calmer = np.zeros(len(market))
    looks = range(RANK_STEP, DAY_MINUTES + 1, RANK_STEP)
    for rows in looks:
        calmer += np.sign(now - rolling.lag(now, rows))
    return (calmer / len(looks) + 1) / 2


def volatility_class(market: Market) -> Array:
    """-1 calm, 0 usual, 1 wild: the third of the day before into which the last hour's volatility falls."""
    rank = volatility_rank(market)
    return np.where(np.isnan(rank), np.nan, (rank > WILD) * 1.0 - (rank < CALM) * 1.0)


def aroon(market: Market, window: int) -> Array:
    """Chande's (1995) Aroon oscillator, -100 .. 100: is the window's high newer than its low, and by how much."""
    return talib.AROONOSC(market["high"], market["low"], window)


def range_trend(market: Market, window: int) -> Array:
    """Correlation of the candles' ranges with time: positive while the market wakes up."""
    return rolling.trend(high_low(market), window)[1]


FEATURES = (
    *(feature(f"adx_{n}", wilder_rows(n, 2), partial(adx, window=n)) for n in (14, 28)),
    *(feature(f"plus_di_{n}", wilder_rows(n), partial(plus_di, window=n)) for n in (14, 28)),
    *(feature(f"minus_di_{n}", wilder_rows(n), partial(minus_di, window=n)) for n in (14, 28)),
    *(feature(f"di_difference_{n}", wilder_rows(n), partial(di_difference, window=n)) for n in (14, 28)),
    feature("adx_change_15", wilder_rows(14, 2) + 15, changed(partial(adx, window=14), 15)),
    feature("trend_decay_60", wilder_rows(14, 2) + 59, partial(trend_decay, window=60)),
    *(feature(f"trend_slope_{n}", n - 1, partial(trend_slope, window=n)) for n in (30, 60, 240)),
    *(feature(f"trend_t_{n}", n - 1, partial(trend_t, window=n)) for n in (30, 60, 240)),
    *(feature(f"trend_fit_{n}", n - 1, partial(trend_fit, window=n)) for n in (60, 240)),
    *(feature(f"efficiency_{n}", n, partial(efficiency, window=n)) for n in (15, 60, 240)),
    feature("efficiency_decay", 60, lambda m: efficiency(m, 15) - efficiency(m, 60)),
    feature("ma_order", 199, average_order),
    *(feature(f"variance_ratio_{k}", 239 + k, partial(variance_ratio, horizon=k, window=240)) for k in (5, 15)),
    *(feature(f"autocorrelation_{n}", n + 1, partial(autocorrelation, window=n)) for n in (60, 240)),
    *(feature(f"choppiness_{n}", n, partial(choppiness, window=n)) for n in (14, 60)),
    *(feature(f"aroon_{n}", n, partial(aroon, window=n)) for n in (25, 240)),
    feature("volatility_rank_day", 60 + DAY_MINUTES, volatility_rank),
    feature("volatility_class", 60 + DAY_MINUTES, volatility_class),
    feature("range_trend_60", 59, partial(range_trend, window=60)),
)
