"""The context columns: what later rooms need by name and in natural units, whichever features the trainer selects."""

import numpy as np

from modules.core.words import DAY_MINUTES
from modules.m1_data_engine.features import common, rolling
from modules.m1_data_engine.features.market import Array, Market

WARMUP = common.wilder_rows(14) + DAY_MINUTES
"""Rows before the first valid one: the ATR is warm, then averaged over a day."""

_HOUR, _HALF_HOUR, _EIGHT_HOURS = 60, 30, 480
_QUIETEST_BPS = 0.1


def context(market: Market) -> dict[str, Array]:
    """``catalog.CONTEXT`` of N candles; NaN in the warm-up, and in ``depth_btc`` where no depth table exists.

    A minute that the depth table does not know has a depth of 0: what is not known to be there is not there to trade on.
    """
    atr = common.atr(market, 14)
    spread_of_returns = common.volatility(market, _HOUR) * np.sqrt(_HOUR)
    columns = {
        "close": market["close"],
        "atr": atr,
        "atr_ratio": rolling.ratio(atr, rolling.mean(atr, DAY_MINUTES), empty=1.0),
        "trend": rolling.ratio(common.log_return(market, _HOUR), spread_of_returns),
        "volatility": np.log(1e4 * rolling.mean(np.log(market["high"] / market["low"]), _HALF_HOUR) + _QUIETEST_BPS),
        "place": common.range_position(market, _EIGHT_HOURS),
    }
    columns = {name: np.where(np.arange(len(market)) < WARMUP, np.nan, values) for name, values in columns.items()}
    if "depth" in market.extras:
        depth = np.minimum(market.extra("depth", "bid_btc"), market.extra("depth", "ask_btc"))
        columns["depth_btc"] = np.nan_to_num(depth, nan=0.0)
    else:
        columns["depth_btc"] = np.full(len(market), np.nan)
    return columns
