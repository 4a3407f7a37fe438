"""Momentum: the oscillators, all relative to the price or bounded."""

from functools import partial
from typing import cast

import numpy as np

from modules.core.talib_light import talib
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    changed,
    close_mean,
    ema_rows,
    highest_high,
    log_return,
    lowest_low,
    range_position,
    rsi,
    typical_price,
    wilder_rows,
)
from modules.m1_data_engine.features.market import Array, Feature, Market, shared
from modules.m1_data_engine.features.volume import WEIGHTS

MACDS = ((12, 26, 9), (5, 35, 5), (24, 52, 18))
WAVE_CHANNEL, WAVE_AVERAGE, WAVE_SIGNAL = 10, 21, 4

feature = partial(Feature, "momentum")


def weighted_rsi(market: Market) -> Array:
    """Exponentially weighted mean of the last 50 values of RSI 14."""
    return rolling.weighted_mean(rsi(market, 14), WEIGHTS)


@shared
def macd(market: Market, windows: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    """Appel's moving average convergence/divergence over the close: line, signal line, histogram."""
    close = market["close"]
    line, average, histogram = talib.MACD(close, *windows)
    return line / close, average / close, histogram / close


def macd_part(market: Market, windows: tuple[int, int, int], part: int) -> Array:
    """0 the line, 1 the signal line, 2 the histogram."""
    return macd(market, windows)[part]


def rate_of_change(market: Market, horizon: int) -> Array:
    """Change of the close over the horizon, in percent."""
    return talib.ROC(market["close"], horizon)


def stochastic_d(market: Market, window: int) -> Array:
    """Lane's %D: the mean of three %K, 0 .. 1."""
    return rolling.mean(range_position(market, window), 3)


def commodity_channel(market: Market, window: int) -> Array:
    """Lambert's (1980) commodity channel index, with exact windows; 0 for a constant price."""
    price = typical_price(market)
    distance = price - rolling.mean(price, window)
    return rolling.ratio(distance, 0.015 * rolling.mean_deviation(price, window))


def williams_r(market: Market, window: int) -> Array:
    """Williams' %R, -100 .. 0; -50 in a window without range (where TA-Lib says 0, the top)."""
    still = highest_high(market, window) == lowest_low(market, window)
    return np.where(still, -50.0, talib.WILLR(market["high"], market["low"], market["close"], window))


@shared
def awesome(market: Market) -> Array:
    """Williams' awesome oscillator over the close: mean of the candles' midpoints, 5 less 34 rows."""
    middle = (market["high"] + market["low"]) / 2
    return (rolling.mean(middle, 5) - rolling.mean(middle, 34)) / market["close"]


@shared
def wave_trend(market: Market) -> Array:
    """LazyBear's wave trend: the distance from an average price, in mean distances, smoothed.

    0 where the price has not moved for two channels: the mean distance left is then mere rounding.
    """
    price, still = typical_price(market), 2 * WAVE_CHANNEL
    distance = price - talib.EMA(price, WAVE_CHANNEL)
    size = talib.EMA(np.abs(distance), WAVE_CHANNEL)
    moved = rolling.highest(price, still) != rolling.lowest(price, still)
    channel = np.where(moved, rolling.ratio(distance, 0.015 * size), 0.0)
    return cast(Array, talib.EMA(channel, WAVE_AVERAGE))


def wave_trend_spread(market: Market) -> Array:
    """Wave trend less its signal, the mean of four."""
    return wave_trend(market) - rolling.mean(wave_trend(market), WAVE_SIGNAL)


def acceleration(market: Market, horizon: int) -> Array:
    """Log return of the horizon less that of the horizon before."""
    moves = log_return(market, horizon)
    return moves - rolling.lag(moves, horizon)


def band_position(market: Market, window: int) -> Array:
    """Distance of the close from the middle of Bollinger's bands, in deviations."""
    return rolling.zscore(market["close"], window)


def return_surprise(market: Market, horizon: int, usual: int) -> Array:
    """Log return of the horizon over what the ``usual`` window's minutes (root mean square) give a random walk."""
    moves = log_return(market, 1)
    scale = np.sqrt(horizon * rolling.mean(moves * moves, usual))
    return rolling.ratio(log_return(market, horizon), scale)


def average_slope(market: Market, window: int) -> Array:
    """Relative change of the simple moving average over the last five rows."""
    return close_mean(market, window) / rolling.lag(close_mean(market, window), 5) - 1


WAVE_ROWS = ema_rows(WAVE_CHANNEL, 2) + ema_rows(WAVE_AVERAGE)

FEATURES = (
    *(feature(f"rsi_{n}", wilder_rows(n), partial(rsi, window=n)) for n in (7, 14, 28)),
    feature("weighted_rsi", wilder_rows(14) + len(WEIGHTS) - 1, weighted_rsi),
    *(feature(f"rsi_14_change_{n}", wilder_rows(14) + n, changed(partial(rsi, window=14), n)) for n in (5, 15)),
    *(
        feature(f"macd_{part}_{n[0]}_{n[1]}", ema_rows(n[1], 2), partial(macd_part, windows=n, part=i))
        for n in MACDS
        for i, part in enumerate(("line", "signal", "histogram"))
    ),
    *(feature(f"stochastic_k_{n}", n - 1, partial(range_position, window=n)) for n in (14, 30)),
    *(feature(f"stochastic_d_{n}", n + 1, partial(stochastic_d, window=n)) for n in (14, 30)),
    *(feature(f"roc_{n}", n, partial(rate_of_change, horizon=n)) for n in (9, 21, 45, 90)),
    *(feature(f"cci_{n}", n - 1, partial(commodity_channel, window=n)) for n in (14, 20, 60)),
    *(feature(f"williams_r_{n}", n - 1, partial(williams_r, window=n)) for n in (21, 45, 120)),
    feature("awesome_oscillator", 33, awesome),
    feature("awesome_oscillator_change", 34, changed(awesome, 1)),
    feature("wave_trend", WAVE_ROWS, wave_trend),
    feature("wave_trend_spread", WAVE_ROWS + WAVE_SIGNAL - 1, wave_trend_spread),
    feature("trix_15", ema_rows(15, 3), lambda m: talib.TRIX(m["close"], 15)),
    *(feature(f"acceleration_{n}", 2 * n, partial(acceleration, horizon=n)) for n in (5, 15)),
    *(feature(f"band_position_{n}", n - 1, partial(band_position, window=n)) for n in (20, 60)),
    *(feature(f"return_surprise_{n}", 240, partial(return_surprise, horizon=n, usual=240)) for n in (5, 15)),
    *(feature(f"ma_slope_{n}", n + 4, partial(average_slope, window=n)) for n in (25, 99)),
)
