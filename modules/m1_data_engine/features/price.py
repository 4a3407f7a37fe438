"""Price: how far it has come, and how far it is from its averages, supports, resistances and Fibonacci levels."""

from functools import partial
from itertools import pairwise

import numpy as np

from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    close_mean,
    highest_high,
    log_return,
    lowest_low,
    per_close,
    range_position,
)
from modules.m1_data_engine.features.market import Array, Feature, Market

HORIZONS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1440)
AVERAGES = (7, 25, 99, 200)
LEVEL_WINDOWS = (15, 60, 240, 1440)
FIBONACCI = (0.236, 0.382, 0.5, 0.618, 0.786)
SWING = 240

feature = partial(Feature, "price")


def average_distance(market: Market, window: int) -> Array:
    """Close over its simple moving average, less 1."""
    return market["close"] / close_mean(market, window) - 1


def average_spread(market: Market, fast: int, slow: int) -> Array:
    """Fast over slow simple moving average, less 1: positive after a golden cross."""
    return close_mean(market, fast) / close_mean(market, slow) - 1


def support_points(market: Market, window: int) -> Array:
    """From the window's lowest low up to the close."""
    return market["close"] - lowest_low(market, window)


def resistance_points(market: Market, window: int) -> Array:
    """From the close up to the window's highest high."""
    return highest_high(market, window) - market["close"]


def fibonacci_points(market: Market, level: float, window: int) -> Array:
    """Close less the level that retraces the window's swing, measured down from its high, by ``level``."""
    high, low = highest_high(market, window), lowest_low(market, window)
    return market["close"] - (high - level * (high - low))


def nearest_fibonacci(market: Market, window: int) -> Array:
    """Distance to the nearest Fibonacci level, relative to the close, never negative."""
    distances = [np.abs(fibonacci_points(market, level, window)) for level in FIBONACCI]
    return np.minimum.reduce(distances) / market["close"]


def points_moved(market: Market, horizon: int) -> Array:
    """Close less the close ``horizon`` rows before, in points."""
    return market["close"] - rolling.lag(market["close"], horizon)


def opening_gap(market: Market) -> Array:
    """Log return from the last close to this open."""
    return np.log(market["open"] / rolling.lag(market["close"], 1))


FEATURES = (
    *(feature(f"log_return_{n}", n, partial(log_return, horizon=n)) for n in HORIZONS),
    *(feature(f"ma_distance_{n}", n - 1, partial(average_distance, window=n)) for n in (*AVERAGES, 1440)),
    *(
        feature(f"ma_spread_{fast}_{slow}", slow - 1, partial(average_spread, fast=fast, slow=slow))
        for fast, slow in pairwise(AVERAGES)
    ),
    *(feature(f"support_distance_{n}", n - 1, per_close(partial(support_points, window=n))) for n in LEVEL_WINDOWS),
    *(feature(f"resistance_distance_{n}", n - 1, per_close(partial(resistance_points, window=n))) for n in LEVEL_WINDOWS),
    *(feature(f"range_position_{n}", n - 1, partial(range_position, window=n)) for n in (60, 240, 1440)),
    *(
        feature(
            f"fib_{1000 * level:.0f}_distance",
            SWING - 1,
            per_close(partial(fibonacci_points, level=level, window=SWING)),
        )
        for level in FIBONACCI
    ),
    feature("fib_nearest_distance_1440", 1439, partial(nearest_fibonacci, window=1440)),
    feature("opening_gap", 1, opening_gap),
    *(feature(f"points_moved_{n}", n, partial(points_moved, horizon=n), "points") for n in (5, 15, 60)),
    *(feature(f"support_points_{n}", n - 1, partial(support_points, window=n), "points") for n in (60, 240)),
    *(feature(f"resistance_points_{n}", n - 1, partial(resistance_points, window=n), "points") for n in (60, 240)),
)
