"""Volatility: how far the price swings, in ratios and, for moves that are asked in points, in points."""

from functools import partial

import numpy as np

from modules.core.words import DAY_MINUTES
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    atr,
    close_mean,
    high_low,
    highest_high,
    log_return,
    lowest_low,
    per_close,
    true_range,
    volatility,
    wilder_rows,
)
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

AHEAD = 15
"""Minutes that the seasonality looks forward from the same minute of the days before: the horizon of a move."""

feature = partial(Feature, "volatility")


@shared
def log_range(market: Market) -> Array:
    """ln(high / low)."""
    return np.log(market["high"] / market["low"])


@shared
def squared_return(market: Market) -> Array:
    """Squared one-minute log return."""
    return log_return(market, 1) * log_return(market, 1)


def parkinson(market: Market, window: int) -> Array:
    """Parkinson (1980): sqrt(mean(ln(H/L)^2) / (4 ln 2)), per minute."""
    return np.sqrt(rolling.mean(log_range(market) * log_range(market), window) / (4 * np.log(2)))


def garman_klass(market: Market, window: int) -> Array:
    """Garman & Klass (1980): sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2)), per minute."""
    move = np.log(market["close"] / market["open"])
    variance = log_range(market) * log_range(market) / 2 - (2 * np.log(2) - 1) * move * move
    return np.sqrt(rolling.mean(variance, window))


def rogers_satchell(market: Market, window: int) -> Array:
    """Rogers & Satchell (1991): sqrt(mean(ln(H/C) ln(H/O) + ln(L/C) ln(L/O))), per minute; a trend adds nothing."""
    opening, high, low, close = (market[name] for name in ("open", "high", "low", "close"))
    variance = np.log(high / close) * np.log(high / opening) + np.log(low / close) * np.log(low / opening)
    return np.sqrt(rolling.mean(variance, window))


def atr_ratio(market: Market, window: int, usual: int) -> Array:
    """ATR over the mean true range of the ``usual`` window; 1 in a dead market."""
    return rolling.ratio(atr(market, window), rolling.mean(true_range(market), usual), empty=1.0)


def volatility_of_volatility(market: Market, window: int) -> Array:
    """Coefficient of variation, over the window, of the 15-minute volatility."""
    return rolling.ratio(rolling.deviation(volatility(market, 15), window), rolling.mean(volatility(market, 15), window))


def volatility_pace(market: Market, fast: int, slow: int) -> Array:
    """Volatility of the fast window over that of the slow one; 1 in a dead market."""
    return rolling.ratio(volatility(market, fast), volatility(market, slow), empty=1.0)


def range_points(market: Market, window: int) -> Array:
    """Highest high less lowest low of the window, in points."""
    return highest_high(market, window) - lowest_low(market, window)


def move_points(market: Market, window: int) -> Array:
    """Expected size of a 15-minute move, in points: deviation of one-minute close changes, times sqrt(15)."""
    close = market["close"]
    return rolling.deviation(close - rolling.lag(close, 1), window) * np.sqrt(AHEAD)


def band_width(market: Market, window: int) -> Array:
    """Width of Bollinger's (2 deviations) bands over their middle."""
    return 4 * rolling.deviation(market["close"], window) / close_mean(market, window)


def downside_share(market: Market, window: int) -> Array:
    """Share of the realised variance that falls made (Barndorff-Nielsen, Kinnebrock & Shephard 2010); 0.5 if none."""
    falls = np.minimum(log_return(market, 1), 0.0)
    return rolling.ratio(rolling.total(falls * falls, window), rolling.total(squared_return(market), window), empty=0.5)


def jump_share(market: Market, window: int) -> Array:
    """1 - bipower variation / realised variance (Barndorff-Nielsen & Shephard 2004): near 1 where one jump made it."""
    moves = np.abs(log_return(market, 1))
    bipower = rolling.total(moves * rolling.lag(moves, 1), window) * np.pi / 2
    return 1 - rolling.ratio(bipower, rolling.total(squared_return(market), window), empty=1.0)


def realised_skewness(market: Market, window: int) -> Array:
    """sqrt(n) sum(r^3) / sum(r^2)^1.5 (Amaya et al. 2015); 0 in a dead market."""
    squares = rolling.total(squared_return(market), window)
    cubes = rolling.total(squared_return(market) * log_return(market, 1), window)
    return np.sqrt(window) * rolling.ratio(cubes, squares * np.sqrt(squares))


def realised_kurtosis(market: Market, window: int) -> Array:
    """n sum(r^4) / sum(r^2)^2 (Amaya et al. 2015); 3, the normal's, in a dead market."""
    squares = rolling.total(squared_return(market), window)
    fourths = rolling.total(squared_return(market) * squared_return(market), window)
    return rolling.ratio(window * fourths, squares * squares, empty=3.0)


@shared
def seasonal_range_points(market: Market) -> Array:
    """Mean candle range, in points, of the 15 minutes that followed this minute of the day, one and two days ago.

    Of the day-time pattern of volatility (Andersen & Bollerslev 1997) it says what the next minutes use to bring.
    """
    followed = rolling.mean(high_low(market), AHEAD)
    yesterday, day_before = (rolling.lag(followed, days * DAY_MINUTES - AHEAD) for days in (1, 2))
    return (yesterday + day_before) / 2


def seasonal_ratio(market: Market) -> Array:
    """The seasonal range over the mean range of the last day; 1 in a dead market."""
    return rolling.ratio(seasonal_range_points(market), rolling.mean(high_low(market), DAY_MINUTES), empty=1.0)


def seasonal_surprise(market: Market) -> Array:
    """Range of this candle over the mean range of the same minute one and two days ago; 1 where those had none."""
    ranges = high_low(market)
    usual = (rolling.lag(ranges, DAY_MINUTES) + rolling.lag(ranges, 2 * DAY_MINUTES)) / 2
    return rolling.ratio(ranges, usual, empty=1.0)


FEATURES = (
    *(feature(f"volatility_{n}", n, partial(volatility, window=n)) for n in (5, 15, 30, 60, 120, 240, 1440)),
    *(feature(f"parkinson_{n}", n - 1, partial(parkinson, window=n)) for n in (15, 60, 240)),
    *(feature(f"garman_klass_{n}", n - 1, partial(garman_klass, window=n)) for n in (15, 60, 240)),
    feature("rogers_satchell_60", 59, partial(rogers_satchell, window=60)),
    *(feature(f"atr_points_{n}", wilder_rows(n), partial(atr, window=n), "points") for n in (7, 14, 28, 60)),
    *(feature(f"atr_relative_{n}", wilder_rows(n), per_close(partial(atr, window=n))) for n in (7, 14, 28, 60)),
    feature("atr_ratio_hour", wilder_rows(14), partial(atr_ratio, window=14, usual=60)),
    feature("atr_ratio_day", DAY_MINUTES, partial(atr_ratio, window=14, usual=DAY_MINUTES)),
    *(feature(f"volatility_of_volatility_{n}", n + 14, partial(volatility_of_volatility, window=n)) for n in (60, 240)),
    *(
        feature(f"volatility_pace_{fast}_{slow}", slow, partial(volatility_pace, fast=fast, slow=slow))
        for fast, slow in ((5, 60), (15, 240), (60, 1440))
    ),
    *(feature(f"range_points_{n}", n - 1, partial(range_points, window=n), "points") for n in (5, 15, 30, 60, 240)),
    *(feature(f"move_points_{n}", n, partial(move_points, window=n), "points") for n in (15, 60, 240)),
    *(feature(f"band_width_{n}", n - 1, partial(band_width, window=n)) for n in (20, 60)),
    *(feature(f"downside_share_{n}", n, partial(downside_share, window=n)) for n in (60, 240)),
    *(feature(f"jump_share_{n}", n + 1, partial(jump_share, window=n)) for n in (60, 240)),
    *(feature(f"realised_skewness_{n}", n, partial(realised_skewness, window=n)) for n in (60, 240)),
    *(feature(f"realised_kurtosis_{n}", n, partial(realised_kurtosis, window=n)) for n in (60, 240)),
    feature("seasonal_range_points", 2 * DAY_MINUTES - 1, seasonal_range_points, "points"),
    feature("seasonal_ratio", 2 * DAY_MINUTES - 1, seasonal_ratio),
    feature("seasonal_surprise", 2 * DAY_MINUTES, seasonal_surprise),
)
