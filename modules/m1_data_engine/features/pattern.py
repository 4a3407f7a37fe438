"""Patterns: the shapes of candles, their runs, and divergences of price and RSI.

TA-Lib's candlestick functions compare with running averages of earlier candles, whose rounding depends on history, so
the shapes are defined here, on the candle's own proportions (after Nison 1991).
"""

from functools import partial

import numpy as np

from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    averaged,
    body,
    close_location,
    high_low,
    highest_high,
    lowest_low,
    rsi,
    wilder_rows,
)
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

DOJI_BODY = 0.1
SHADOW, SMALL_SHADOW = 2.0, 0.3
RSI_MARGIN = 1.0
LONGEST_RUN = 15

feature = partial(Feature, "pattern")


@shared
def body_ratio(market: Market) -> Array:
    """Body over range, -1 (opened at the high, closed at the low) .. 1; 0 in a candle without range."""
    return rolling.ratio(body(market), high_low(market))


@shared
def upper_shadow(market: Market) -> Array:
    """Upper shadow over range, 0 .. 1."""
    return rolling.ratio(market["high"] - np.maximum(market["open"], market["close"]), high_low(market))


@shared
def lower_shadow(market: Market) -> Array:
    """Lower shadow over range, 0 .. 1."""
    return rolling.ratio(np.minimum(market["open"], market["close"]) - market["low"], high_low(market))


@shared
def doji(market: Market) -> Array:
    """1 where the body is at most a tenth of the range; a candle without range is one too."""
    return _flag(np.abs(body_ratio(market)) <= DOJI_BODY)


@shared
def hammer(market: Market) -> Array:
    """1 where the lower shadow is at least twice the body, and the upper at most 0.3 of it, and there is a body."""
    size = np.abs(body_ratio(market))
    return _flag((size > 0) & (lower_shadow(market) >= SHADOW * size) & (upper_shadow(market) <= SMALL_SHADOW * size))


@shared
def shooting_star(market: Market) -> Array:
    """1 where the upper shadow is at least twice the body, and the lower at most 0.3 of it, and there is a body."""
    size = np.abs(body_ratio(market))
    return _flag((size > 0) & (upper_shadow(market) >= SHADOW * size) & (lower_shadow(market) <= SMALL_SHADOW * size))


def hammer_balance(market: Market) -> Array:
    """Hammer less shooting star."""
    return hammer(market) - shooting_star(market)


@shared
def engulfing(market: Market) -> Array:
    """1 where a rising body covers the falling one before it, -1 the other way round, else 0."""
    opening, close = market["open"], market["close"]
    before, last = rolling.lag(opening, 1), rolling.lag(close, 1)
    rising = (last < before) & (close > before) & (opening <= last)
    falling = (last > before) & (close < before) & (opening >= last)
    return _since(1, _flag(rising) - _flag(falling))


def hidden_divergence(market: Market, window: int) -> Array:
    """1: a higher low than in the window before, at a lower RSI; -1: a lower high at a higher RSI; else 0.

    The RSI must differ by a point, for equal values differ by rounding.
    """
    lower, higher = _extremes(market, window)
    return (lower > 0) * (_rsi_lows(market, window) < -RSI_MARGIN) * 1.0 - (higher < 0) * (
        _rsi_highs(market, window) > RSI_MARGIN
    ) * 1.0


def divergence(market: Market, window: int) -> Array:
    """1: a lower low than in the window before, at a higher RSI; -1: a higher high at a lower RSI; else 0."""
    lower, higher = _extremes(market, window)
    return (lower < 0) * (_rsi_lows(market, window) > RSI_MARGIN) * 1.0 - (higher > 0) * (
        _rsi_highs(market, window) < -RSI_MARGIN
    ) * 1.0


def _extremes(market: Market, window: int) -> tuple[Array, Array]:
    """How the window's lowest low and highest high differ from those of the window before."""
    return _step(lowest_low(market, window), window), _step(highest_high(market, window), window)


def _rsi_lows(market: Market, window: int) -> Array:
    return _step(rolling.lowest(rsi(market, 14), window), window)


def _rsi_highs(market: Market, window: int) -> Array:
    return _step(rolling.highest(rsi(market, 14), window), window)


def _step(values: Array, rows: int) -> Array:
    return values - rolling.lag(values, rows)


@shared
def direction(market: Market) -> Array:
    """1 a rising candle, -1 a falling one, 0 neither."""
    return np.sign(body(market))


def run_length(market: Market) -> Array:
    """Candles of the newest one's direction in a row, times that direction; at most 15."""
    way = direction(market)
    running, length = np.abs(way), np.abs(way)
    for rows in range(1, LONGEST_RUN):
        running = running * (rolling.lag(way, rows) == way)
        length = length + running
    return length * way


def inside_candle(market: Market) -> Array:
    """1 where the candle lies within the one before, -1 where it reaches beyond it on both sides, else 0."""
    above = market["high"] - rolling.lag(market["high"], 1)
    below = rolling.lag(market["low"], 1) - market["low"]
    return _since(1, _flag((above <= 0) & (below <= 0)) - _flag((above > 0) & (below > 0)))


def higher_highs(market: Market, window: int) -> Array:
    """Share of the window's candles with a higher high, less the share with a lower low."""
    higher = _flag(market["high"] > rolling.lag(market["high"], 1))
    lower = _flag(market["low"] < rolling.lag(market["low"], 1))
    return rolling.mean(_since(1, higher - lower), window)


def breakout(market: Market, window: int) -> Array:
    """1 where the close is above all highs of the window before it, -1 where below all lows, else 0."""
    high, low = rolling.lag(highest_high(market, window), 1), rolling.lag(lowest_low(market, window), 1)
    return _flag(market["close"] > high) - _flag(market["close"] < low)


def relative_body(market: Market, window: int) -> Array:
    """Body over the window's mean range; 0 where there was none."""
    return rolling.ratio(body(market), rolling.mean(high_low(market), window))


def relative_range(market: Market, window: int) -> Array:
    """Range over the window's mean range; 1 where there was none."""
    return rolling.ratio(high_low(market), rolling.mean(high_low(market), window), empty=1.0)


def narrowest(market: Market, window: int) -> Array:
    """1 where no candle of the window had a smaller range (Crabel's NR7 at 7)."""
    return _flag(high_low(market) == rolling.lowest(high_low(market), window))


def _flag(condition: np.ndarray) -> Array:
    return condition.astype(np.float64)


def _since(row: int, values: Array) -> Array:
    """NaN before ``row``: a comparison with a row that is not there says False, not NaN."""
    values[:row] = np.nan
    return values


FEATURES = (
    feature("body_ratio", 0, body_ratio),
    feature("upper_shadow_ratio", 0, upper_shadow),
    feature("lower_shadow_ratio", 0, lower_shadow),
    feature("close_location", 0, close_location),
    *(feature(f"body_ratio_{n}", n - 1, averaged(body_ratio, n)) for n in (5, 15)),
    *(feature(f"upper_shadow_ratio_{n}", n - 1, averaged(upper_shadow, n)) for n in (5, 15)),
    *(feature(f"lower_shadow_ratio_{n}", n - 1, averaged(lower_shadow, n)) for n in (5, 15)),
    feature("doji", 0, doji),
    feature("hammer", 0, hammer),
    feature("shooting_star", 0, shooting_star),
    feature("engulfing", 1, engulfing),
    feature("doji_share_15", 14, averaged(doji, 15)),
    feature("hammer_balance_15", 14, averaged(hammer_balance, 15)),
    feature("engulfing_balance_15", 15, averaged(engulfing, 15)),
    *(feature(f"hidden_divergence_{n}", wilder_rows(14) + 2 * n - 1, partial(hidden_divergence, window=n)) for n in (15, 30)),
    *(feature(f"divergence_{n}", wilder_rows(14) + 2 * n - 1, partial(divergence, window=n)) for n in (15, 30)),
    feature("run_length", LONGEST_RUN - 1, run_length),
    *(feature(f"direction_balance_{n}", n - 1, averaged(direction, n)) for n in (15, 60)),
    feature("inside_candle", 1, inside_candle),
    *(feature(f"higher_highs_{n}", n, partial(higher_highs, window=n)) for n in (15, 60)),
    *(feature(f"breakout_{n}", n, partial(breakout, window=n)) for n in (60, 240)),
    feature("relative_body_60", 59, partial(relative_body, window=60)),
    feature("relative_range_60", 59, partial(relative_range, window=60)),
    feature("narrowest_7", 6, partial(narrowest, window=7)),
)
