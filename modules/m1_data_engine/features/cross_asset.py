"""Cross asset: BTC beside ETH and SOL, the perpetual future, its premium and its funding."""

from functools import partial

import numpy as np

from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.common import averaged, changed, close_mean, log_return, taker_flow
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

COINS = ("eth", "sol")

feature = partial(Feature, "cross_asset")


@shared
def other_return(market: Market, table: str, horizon: int) -> Array:
    """Log return of the other market's close."""
    close = market.extra(table, "close")
    return np.log(close / rolling.lag(close, horizon))


def relative_strength(market: Market, table: str, horizon: int) -> Array:
    """Log return of BTC less that of the other."""
    return log_return(market, horizon) - other_return(market, table, horizon)


@shared
def return_regression(market: Market, table: str, window: int) -> tuple[Array, Array]:
    """BTC's one-minute log returns on the other's: beta, correlation."""
    return rolling.regression(log_return(market, 1), other_return(market, table, 1), window)


def beta(market: Market, table: str, window: int) -> Array:
    """Slope of BTC's one-minute log returns on the other's."""
    return return_regression(market, table, window)[0]


def return_correlation(market: Market, table: str, window: int) -> Array:
    """Correlation of one-minute log returns."""
    return return_regression(market, table, window)[1]


def lead_correlation(market: Market, table: str, window: int) -> Array:
    """Correlation of BTC's one-minute log returns with the other's of the minute before: positive where it leads."""
    return rolling.correlation(log_return(market, 1), rolling.lag(other_return(market, table, 1), 1), window)


def unanswered_return(market: Market, table: str, horizon: int, window: int) -> Array:
    """Beta times the other's return, less BTC's own: what BTC still owes if it follows."""
    owed = beta(market, table, window) * other_return(market, table, horizon)
    return owed - log_return(market, horizon)


def pair_distance(market: Market, table: str, window: int) -> Array:
    """BTC over the other, each over its simple moving average, less 1."""
    other = market.extra(table, "close")
    return market["close"] / close_mean(market, window) * rolling.mean(other, window) / other - 1


def other_taker_imbalance(market: Market, table: str, window: int) -> Array:
    """Net taker buying of the other coin over its volume, -1 .. 1; 0 where nothing was traded."""
    bought, volume = market.extra(table, "taker_buy_base"), market.extra(table, "volume")
    return rolling.ratio(rolling.total(2 * bought - volume, window), rolling.total(volume, window))


def other_volume_ratio(market: Market, table: str, window: int) -> Array:
    """The other coin's volume over the window's mean; 1 where nothing was traded."""
    volume = market.extra(table, "volume")
    return rolling.ratio(volume, rolling.mean(volume, window), empty=1.0)


def flow_correlation(market: Market, table: str, window: int) -> Array:
    """Correlation of net taker buying in both coins."""
    other = 2 * market.extra(table, "taker_buy_base") - market.extra(table, "volume")
    return rolling.correlation(taker_flow(market), other, window)


def _coin(coin: str) -> tuple[Feature, ...]:
    of_coin = partial(feature, needs=(coin,))
    return (
        *(of_coin(f"{coin}_return_{n}", n, partial(other_return, table=coin, horizon=n)) for n in (1, 5, 15)),
        *(of_coin(f"{coin}_relative_strength_{n}", n, partial(relative_strength, table=coin, horizon=n)) for n in (15, 60, 240)),
        *(of_coin(f"{coin}_correlation_{n}", n, partial(return_correlation, table=coin, window=n)) for n in (60, 240)),
        of_coin(f"{coin}_beta_240", 240, partial(beta, table=coin, window=240)),
        *(of_coin(f"{coin}_lead_correlation_{n}", n + 1, partial(lead_correlation, table=coin, window=n)) for n in (60, 240)),
        of_coin(f"{coin}_unanswered_5", 240, partial(unanswered_return, table=coin, horizon=5, window=240)),
        of_coin(f"{coin}_pair_distance_240", 239, partial(pair_distance, table=coin, window=240)),
        of_coin(f"{coin}_taker_imbalance_15", 14, partial(other_taker_imbalance, table=coin, window=15)),
        of_coin(f"{coin}_volume_ratio_60", 59, partial(other_volume_ratio, table=coin, window=60)),
        of_coin(f"{coin}_flow_correlation_60", 59, partial(flow_correlation, table=coin, window=60)),
    )


@shared
def basis(market: Market) -> Array:
    """The perpetual's close over the spot's, less 1."""
    return market.extra("perp", "close") / market["close"] - 1


def premium(market: Market) -> Array:
    """Premium index of the perpetual, a ratio."""
    return market.extra("premium", "close")


def funding(market: Market) -> Array:
    """The funding rate last paid."""
    return market.extra("funding", "funding_rate")


of_perp = partial(feature, needs=("perp",))
of_premium = partial(feature, needs=("premium",))
of_funding = partial(feature, needs=("funding",))

FEATURES = (
    *(part for coin in COINS for part in _coin(coin)),
    feature("coins_return_5", 5, lambda m: (other_return(m, "eth", 5) + other_return(m, "sol", 5)) / 2, needs=COINS),
    of_perp("basis", 0, basis),
    of_perp("basis_change_15", 15, changed(basis, 15)),
    of_perp("basis_zscore_240", 239, lambda m: rolling.zscore(basis(m), 240)),
    of_perp("perp_lead_5", 5, lambda m: other_return(m, "perp", 5) - log_return(m, 5)),
    of_premium("premium", 0, premium),
    of_premium("premium_mean_60", 59, averaged(premium, 60)),
    of_premium("premium_change_15", 15, changed(premium, 15)),
    of_funding("funding_rate", 0, funding),
    of_funding("funding_mean_1440", 1439, averaged(funding, 1440)),
    of_funding("funding_change_480", 480, changed(funding, 480)),
)
