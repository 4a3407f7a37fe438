"""On-chain and sentiment: what the whale and news modules said a minute ago (the caller joins them so lagged)."""

from functools import partial

from modules.m1_data_engine.features.common import averaged, changed
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

of_whales = partial(Feature, "onchain_sentiment", needs=("whale",))
of_news = partial(Feature, "onchain_sentiment", needs=("sentiment",))
of_both = partial(Feature, "onchain_sentiment", needs=("whale", "sentiment"))


def score(market: Market) -> Array:
    """Whale alert score, 0 .. 1."""
    return market.extra("whale", "whale_alert_score")


def impact(market: Market) -> Array:
    """1 pressure to buy, -1 pressure to sell, 0 none."""
    return market.extra("whale", "impact")


@shared
def signed_score(market: Market) -> Array:
    """Whale alert score with the sign of its impact: negative is pressure to sell."""
    return score(market) * impact(market)


def trajectory(market: Market) -> Array:
    """Sentiment trajectory, -1 .. 1."""
    return market.extra("sentiment", "trajectory")


def volatility(market: Market) -> Array:
    """Volatility of sentiment, 0 .. 1."""
    return market.extra("sentiment", "volatility")


def conviction(market: Market) -> Array:
    """Trajectory, discounted by how contested it is."""
    return trajectory(market) * (1 - volatility(market))


def agreement(market: Market) -> Array:
    """Signed whale score times trajectory: positive where both point the same way."""
    return signed_score(market) * trajectory(market)


FEATURES = (
    of_whales("whale_score", 0, score),
    of_whales("whale_impact", 0, impact),
    of_whales("whale_signed_score", 0, signed_score),
    *(of_whales(f"whale_score_mean_{n}", n - 1, averaged(score, n)) for n in (15, 60)),
    *(of_whales(f"whale_signed_mean_{n}", n - 1, averaged(signed_score, n)) for n in (15, 60)),
    *(of_whales(f"whale_score_change_{n}", n, changed(score, n)) for n in (5, 15)),
    of_news("sentiment_trajectory", 0, trajectory),
    of_news("sentiment_volatility", 0, volatility),
    of_news("sentiment_conviction", 0, conviction),
    *(of_news(f"sentiment_mean_{n}", n - 1, averaged(trajectory, n)) for n in (60, 240)),
    *(of_news(f"sentiment_change_{n}", n, changed(trajectory, n)) for n in (15, 60)),
    of_news("sentiment_volatility_change_60", 60, changed(volatility, 60)),
    of_both("whale_sentiment_agreement", 0, agreement),
)
