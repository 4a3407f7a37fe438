"""Microstructure: who takes, how large, what it does to the price; and the order book where depth is recorded."""

from functools import partial

import numpy as np

from modules.core.talib_light import talib
from modules.core.words import DAY_MINUTES
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import averaged, changed, log_return, taker_flow, volume_mean, volume_total
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

LARGE = 2.0
DUST = 1e-6
"""Share of a window's volume below which a side has no average price: volume less buys leaves rounding."""

feature = partial(Feature, "microstructure")
of_depth = partial(Feature, "microstructure", needs=("depth",))


@shared
def taker_buy_ratio(market: Market, window: int) -> Array:
    """Share of the window's volume that takers bought, 0 .. 1; 0.5 where nothing was traded."""
    return rolling.ratio(rolling.total(market["taker_buy_base"], window), volume_total(market, window), empty=0.5)


def order_flow(market: Market, window: int) -> Array:
    """Mean net taker buying of the window over the mean volume of a day: imbalance weighted by how busy it is."""
    return rolling.ratio(rolling.mean(taker_flow(market), window), volume_mean(market, DAY_MINUTES))


def flow_shift(market: Market, fast: int, slow: int) -> Array:
    """Taker buy ratio of the fast window less that of the slow one."""
    return taker_buy_ratio(market, fast) - taker_buy_ratio(market, slow)


def flow_return_correlation(market: Market, window: int) -> Array:
    """Correlation of one-minute log returns with net taker buying: how far flow moves the price (Kyle 1985)."""
    return rolling.correlation(log_return(market, 1), taker_flow(market), window)


def flow_persistence(market: Market, window: int) -> Array:
    """Correlation of net taker buying with that of the minute before."""
    return rolling.correlation(taker_flow(market), rolling.lag(taker_flow(market), 1), window)


def toxicity(market: Market, window: int) -> Array:
    """Sum of absolute net taker buying over volume, 0 .. 1 (VPIN of Easley, Lopez de Prado & O'Hara, by minutes)."""
    return rolling.ratio(rolling.total(np.abs(taker_flow(market)), window), volume_total(market, window))


@shared
def pressure(market: Market) -> Array:
    """Balance of power (TA-Lib BOP): body over range, 0 in a candle without range."""
    return talib.BOP(market["open"], market["high"], market["low"], market["close"])


def price_pressure(market: Market, window: int) -> Array:
    """Balance of power weighted by volume: the side that closes the heavy candles, -1 .. 1."""
    return rolling.ratio(rolling.total(pressure(market) * market["volume"], window), volume_total(market, window))


def buyers_premium(market: Market, window: int) -> Array:
    """Average price that takers paid over the average that they got, less 1; 0 where either side is missing."""
    bought, paid = (rolling.total(market[name], window) for name in ("taker_buy_base", "taker_buy_quote"))
    volume, quote = volume_total(market, window), rolling.total(market["quote_volume"], window)
    sold, got = volume - bought, quote - paid
    both = (bought > DUST * volume) & (sold > DUST * volume) & (got > 0) & (paid > 0)
    bid = rolling.ratio(got, np.where(both, sold, 0.0))
    ask = rolling.ratio(paid, np.where(both, bought, 0.0))
    premium = rolling.ratio(ask - bid, bid)
    premium[: window - 1] = np.nan
    return premium


@shared
def mean_trade(market: Market, window: int) -> Array:
    """Mean size of a trade, in base currency; 0 where there was none."""
    return rolling.ratio(volume_total(market, window), rolling.total(market["trades"], window))


def trade_size(market: Market, window: int) -> Array:
    """Mean size of a trade in the window over that of the day; 1 where there was none that day."""
    return rolling.ratio(mean_trade(market, window), mean_trade(market, DAY_MINUTES), empty=1.0)


@shared
def large_volume(market: Market) -> Array:
    """Volume of the minutes whose mean trade is more than twice the day's, else 0: whole trades are not in candles."""
    large = mean_trade(market, 1) > LARGE * mean_trade(market, DAY_MINUTES)
    volume = market["volume"] * large
    volume[: DAY_MINUTES - 1] = np.nan
    return volume


def large_trade_ratio(market: Market, window: int) -> Array:
    """Share of the window's volume in minutes of large trades."""
    return rolling.ratio(rolling.total(large_volume(market), window), volume_total(market, window))


def illiquidity(market: Market, window: int) -> Array:
    """Amihud's (2002) absolute return per volume in the window over that of the day; 1 where nothing moved."""
    near, day = (
        rolling.ratio(rolling.total(np.abs(log_return(market, 1)), n), volume_total(market, n)) for n in (window, DAY_MINUTES)
    )
    return rolling.ratio(near, day, empty=1.0)


def bounce_spread(market: Market, window: int) -> Array:
    """Roll's (1984) effective spread from the bounce of log returns: 2 sqrt(-cov(r, r before)), 0 where positive."""
    moves = log_return(market, 1)
    before = rolling.lag(moves, 1)
    scale = rolling.deviation(moves, window) * rolling.deviation(before, window)
    covariance = rolling.correlation(moves, before, window) * scale
    return 2 * np.sqrt(np.maximum(-covariance, 0.0))


@shared
def spread(market: Market) -> Array:
    """Best ask less best bid over the close."""
    return market.extra("depth", "spread") / market["close"]


@shared
def depth_total(market: Market) -> Array:
    """What rests on both sides of the book, in BTC."""
    return market.extra("depth", "bid_btc") + market.extra("depth", "ask_btc")


@shared
def depth_imbalance(market: Market) -> Array:
    """Bids less asks over both, -1 .. 1; 0 for an empty book."""
    return rolling.ratio(market.extra("depth", "bid_btc") - market.extra("depth", "ask_btc"), depth_total(market))


def depth_ratio(market: Market, window: int) -> Array:
    """What rests in the book over the window's mean; 1 for an empty one."""
    return rolling.ratio(depth_total(market), rolling.mean(depth_total(market), window), empty=1.0)


def spread_ratio(market: Market, window: int) -> Array:
    """Spread over the window's mean; 1 where there was none."""
    return rolling.ratio(spread(market), rolling.mean(spread(market), window), empty=1.0)


def depth_cover(market: Market, window: int) -> Array:
    """What rests in the book over itself and the mean volume of a minute: near 0 where a minute would eat it all."""
    depth = depth_total(market)
    return rolling.ratio(depth, depth + volume_mean(market, window))


FEATURES = (
    *(feature(f"taker_buy_ratio_{n}", n - 1, partial(taker_buy_ratio, window=n)) for n in (1, 5, 15, 60, 240)),
    *(feature(f"order_flow_{n}", DAY_MINUTES - 1, partial(order_flow, window=n)) for n in (1, 5, 15, 60)),
    feature("flow_shift_5_60", 59, partial(flow_shift, fast=5, slow=60)),
    feature("flow_shift_15_240", 239, partial(flow_shift, fast=15, slow=240)),
    *(feature(f"flow_return_correlation_{n}", n, partial(flow_return_correlation, window=n)) for n in (30, 60, 240)),
    feature("flow_persistence_60", 60, partial(flow_persistence, window=60)),
    *(feature(f"toxicity_{n}", n - 1, partial(toxicity, window=n)) for n in (15, 60, 240)),
    *(feature(f"price_pressure_{n}", n - 1, partial(price_pressure, window=n)) for n in (5, 15, 60)),
    *(feature(f"buyers_premium_{n}", n - 1, partial(buyers_premium, window=n)) for n in (5, 15, 60)),
    *(feature(f"trade_size_{n}", DAY_MINUTES - 1, partial(trade_size, window=n)) for n in (1, 15, 60)),
    *(feature(f"large_trade_ratio_{n}", DAY_MINUTES + n - 2, partial(large_trade_ratio, window=n)) for n in (15, 60)),
    *(feature(f"illiquidity_{n}", DAY_MINUTES, partial(illiquidity, window=n)) for n in (15, 60)),
    feature("bounce_spread_60", 61, partial(bounce_spread, window=60)),
    of_depth("spread", 0, spread),
    of_depth("spread_ratio_60", 59, partial(spread_ratio, window=60)),
    of_depth("depth_imbalance", 0, depth_imbalance),
    of_depth("depth_imbalance_15", 14, averaged(depth_imbalance, 15)),
    of_depth("depth_imbalance_change_5", 5, changed(depth_imbalance, 5)),
    of_depth("depth_ratio_60", 59, partial(depth_ratio, window=60)),
    of_depth("depth_cover_60", 59, partial(depth_cover, window=60)),
)
