"""Intermediates that several families share, each computed once per Market, and the warm-ups of TA-Lib's recursions."""

import math
from collections.abc import Callable

import numpy as np

from modules.core.talib_light import talib
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.market import Array, Market, shared

FORGOTTEN = 1e-13
"""A recursion is warm when what came before its window weighs less than this."""


def ema_rows(window: int, nested: int = 1) -> int:
    """Rows until an exponential average of TA-Lib (weight 2 / (window + 1)) has forgotten its start.

    ``nested`` counts averages of averages (MACD's signal line: 2), which forget later.
    """
    return nested * window + _rows_to_forget(1 - 2 / (window + 1), nested)


def wilder_rows(window: int, nested: int = 1) -> int:
    """The same for Wilder's average (weight 1 / window): RSI, ATR; ADX is nested twice."""
    return nested * window + _rows_to_forget(1 - 1 / window, nested)


def _rows_to_forget(decay: float, nested: int) -> int:
    """Rows until the weight of what lies before them, in ``nested`` passes, is below FORGOTTEN.

    After w rows a single pass keeps decay^w; of several, the last one to die is (w (1 - decay))^(nested - 1) decay^w.
    """
    rows = math.ceil(math.log(FORGOTTEN) / math.log(decay))
    while decay**rows * (rows * (1 - decay)) ** (nested - 1) > FORGOTTEN:
        rows += 1
    return rows


def averaged(of: Callable[[Market], Array], window: int) -> Callable[[Market], Array]:
    """The mean of something over the window."""
    return lambda market: rolling.mean(of(market), window)


def changed(of: Callable[[Market], Array], rows: int) -> Callable[[Market], Array]:
    """Something less its value ``rows`` rows before."""
    return lambda market: of(market) - rolling.lag(of(market), rows)


def per_close(of: Callable[[Market], Array]) -> Callable[[Market], Array]:
    """Points turned into a ratio of the close."""
    return lambda market: of(market) / market["close"]


@shared
def log_return(market: Market, horizon: int) -> Array:
    """ln(close / close ``horizon`` rows before)."""
    close = market["close"]
    return np.log(close / rolling.lag(close, horizon))


@shared
def high_low(market: Market) -> Array:
    """The candle's range in points."""
    return market["high"] - market["low"]


@shared
def typical_price(market: Market) -> Array:
    """(high + low + close) / 3, taken as a step from the close so that a flat candle gives its price exactly."""
    close = market["close"]
    return close + ((market["high"] - close) + (market["low"] - close)) / 3


@shared
def close_location(market: Market) -> Array:
    """Where the close lies in the candle: -1 at the low, 1 at the high, 0 in a candle without range (Chaikin)."""
    high, low, close = market["high"], market["low"], market["close"]
    return rolling.ratio((close - low) - (high - close), high_low(market))


@shared
def true_range(market: Market) -> Array:
    """Wilder (1978): the range, widened to the close before. Row 0 is NaN."""
    return talib.TRANGE(market["high"], market["low"], market["close"])


@shared
def atr(market: Market, window: int) -> Array:
    """Average true range (Wilder 1978) in points. Warm after ``wilder_rows(window)``."""
    return talib.ATR(market["high"], market["low"], market["close"], window)


@shared
def rsi(market: Market, window: int) -> Array:
    """Relative strength index (Wilder 1978), 0 .. 100. Warm after ``wilder_rows(window)``.

    50 where the price has not moved for three windows: the gains and losses left over are then a quotient of two
    vanishing numbers, whose value hangs on how long ago the last move was.
    """
    close, still = market["close"], 3 * window
    unmoved = rolling.highest(close, still) == rolling.lowest(close, still)
    return np.where(unmoved, 50.0, talib.RSI(close, window))


@shared
def highest_high(market: Market, window: int) -> Array:
    """The highest high of the window."""
    return rolling.highest(market["high"], window)


@shared
def lowest_low(market: Market, window: int) -> Array:
    """The lowest low of the window."""
    return rolling.lowest(market["low"], window)


@shared
def range_position(market: Market, window: int) -> Array:
    """Where the close lies between the window's low (0) and high (1); 0.5 in a window without range."""
    low, high = lowest_low(market, window), highest_high(market, window)
    return rolling.ratio(market["close"] - low, high - low, empty=0.5)


@shared
def close_mean(market: Market, window: int) -> Array:
    """Simple moving average of the close."""
    return rolling.mean(market["close"], window)


@shared
def volatility(market: Market, window: int) -> Array:
    """Standard deviation of the window's one-minute log returns."""
    return rolling.deviation(log_return(market, 1), window)


@shared
def volume_total(market: Market, window: int) -> Array:
    """Traded volume of the window, in base currency."""
    return rolling.total(market["volume"], window)


@shared
def volume_mean(market: Market, window: int) -> Array:
    """Mean volume of a minute of the window, in base currency."""
    return rolling.mean(market["volume"], window)


@shared
def taker_flow(market: Market) -> Array:
    """What takers bought less what they sold, in base currency."""
    return 2 * market["taker_buy_base"] - market["volume"]


@shared
def body(market: Market) -> Array:
    """close - open, in points."""
    return market["close"] - market["open"]
