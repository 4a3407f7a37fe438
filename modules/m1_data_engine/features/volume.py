"""Volume: how much was traded beside the usual, and at which prices. No feature depends on the unit of volume."""

from functools import partial

import numpy as np

from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import (
    close_location,
    log_return,
    typical_price,
    volume_mean,
    volume_total,
)
from modules.m1_data_engine.features.market import Array, Feature, Market

WEIGHTS = np.exp(np.linspace(-1, 0, 50))
"""Of the last 50 rows, oldest to newest, for ``weighted_volume`` and ``weighted_rsi``."""

feature = partial(Feature, "volume")


def volume_ratio(market: Market, window: int) -> Array:
    """Volume over the window's mean volume; 1 where nothing was traded."""
    return rolling.ratio(market["volume"], volume_mean(market, window), empty=1.0)


def weighted_volume(market: Market) -> Array:
    """Volume over its exponentially weighted mean of 50 rows; 1 where nothing was traded."""
    return rolling.ratio(market["volume"], rolling.weighted_mean(market["volume"], WEIGHTS), empty=1.0)


def volume_zscore(market: Market, window: int) -> Array:
    """Volume less the window's mean, in standard deviations."""
    return rolling.zscore(market["volume"], window)


def volume_pace(market: Market, fast: int, slow: int) -> Array:
    """Mean volume of the fast window over that of the slow one; 1 where nothing was traded."""
    return rolling.ratio(volume_mean(market, fast), volume_mean(market, slow), empty=1.0)


def trades_ratio(market: Market, window: int) -> Array:
    """Number of trades over the window's mean number; 1 where there was none."""
    return rolling.ratio(market["trades"], rolling.mean(market["trades"], window), empty=1.0)


def on_balance_volume(market: Market, window: int) -> Array:
    """Granville's (1963) on-balance volume over the window, as a share of its volume: -1 .. 1.

    The change of OBV over a window is the window's sum of signed volume; summed afresh, for the running total of
    TA-Lib's OBV rounds differently in a short buffer.
    """
    return rolling.ratio(rolling.total(np.sign(log_return(market, 1)) * market["volume"], window), volume_total(market, window))


def accumulation(market: Market, window: int) -> Array:
    """Chaikin's accumulation/distribution over the window, as a share of its volume (Chaikin money flow): -1 .. 1."""
    return rolling.ratio(rolling.total(close_location(market) * market["volume"], window), volume_total(market, window))


def vwap_distance(market: Market, window: int) -> Array:
    """Close over the window's volume-weighted average price, less 1; 0 where nothing was traded."""
    vwap = rolling.ratio(rolling.total(market["quote_volume"], window), volume_total(market, window))
    return rolling.ratio(market["close"] - vwap, vwap)


def money_flow_index(market: Market, window: int) -> Array:
    """Quong & Soudack's (1989) money flow index, 0 .. 100; 50 where no money flowed either way."""
    price = typical_price(market)
    step = np.sign(price - rolling.lag(price, 1))
    flow = price * market["volume"]
    up = rolling.total(flow * (step + np.abs(step)) / 2, window)
    down = rolling.total(flow * (np.abs(step) - step) / 2, window)
    return 100 * rolling.ratio(up, up + down, empty=0.5)


def concentration(market: Market, window: int) -> Array:
    """Herfindahl index of the window's volume, times the window: 1 = even, window = all in one minute."""
    whole = volume_total(market, window)
    squares = rolling.total(market["volume"] * market["volume"], window)
    return rolling.ratio(window * squares, whole * whole, empty=1.0)


def peak_share(market: Market, window: int) -> Array:
    """Share of the window's volume that its busiest minute has; 1 / window where nothing was traded."""
    return rolling.ratio(rolling.highest(market["volume"], window), volume_total(market, window), empty=1 / window)


def weighted_return(market: Market, window: int) -> Array:
    """Mean one-minute log return of the window, weighted by volume (Elder's force index as a mean)."""
    return rolling.ratio(rolling.total(log_return(market, 1) * market["volume"], window), volume_total(market, window))


def volume_trend(market: Market, window: int) -> Array:
    """Correlation of volume with time."""
    return rolling.trend(market["volume"], window)[1]


def return_volume_correlation(market: Market, window: int) -> Array:
    """Correlation of one-minute log returns with volume: positive where rises are the heavier moves."""
    return rolling.correlation(log_return(market, 1), market["volume"], window)


def move_volume_correlation(market: Market, window: int) -> Array:
    """Correlation of absolute one-minute log returns with volume (Karpoff 1987)."""
    return rolling.correlation(np.abs(log_return(market, 1)), market["volume"], window)


FEATURES = (
    *(feature(f"volume_ratio_{n}", n - 1, partial(volume_ratio, window=n)) for n in (5, 15, 60, 240, 1440)),
    feature("weighted_volume", len(WEIGHTS) - 1, weighted_volume),
    *(
        feature(f"volume_pace_{fast}_{slow}", slow - 1, partial(volume_pace, fast=fast, slow=slow))
        for fast, slow in ((5, 60), (15, 240), (60, 1440))
    ),
    *(feature(f"volume_zscore_{n}", n - 1, partial(volume_zscore, window=n)) for n in (60, 240)),
    *(feature(f"trades_ratio_{n}", n - 1, partial(trades_ratio, window=n)) for n in (15, 60, 240)),
    *(feature(f"obv_{n}", n, partial(on_balance_volume, window=n)) for n in (15, 60, 240)),
    *(feature(f"accumulation_{n}", n - 1, partial(accumulation, window=n)) for n in (15, 60, 240)),
    *(feature(f"vwap_distance_{n}", n - 1, partial(vwap_distance, window=n)) for n in (15, 60, 240, 1440)),
    *(feature(f"mfi_{n}", n, partial(money_flow_index, window=n)) for n in (14, 28)),
    *(feature(f"volume_concentration_{n}", n - 1, partial(concentration, window=n)) for n in (15, 60)),
    feature("volume_peak_share_60", 59, partial(peak_share, window=60)),
    *(feature(f"volume_weighted_return_{n}", n, partial(weighted_return, window=n)) for n in (15, 60)),
    *(feature(f"volume_trend_{n}", n - 1, partial(volume_trend, window=n)) for n in (30, 60)),
    feature("return_volume_correlation_60", 60, partial(return_volume_correlation, window=60)),
    *(feature(f"move_volume_correlation_{n}", n, partial(move_volume_correlation, window=n)) for n in (60, 240)),
)
