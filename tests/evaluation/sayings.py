"""A made-up table of what the pipeline said: a random walk, and rooms that know nothing unless a test plants something."""

import numpy as np

from modules.core.catalog import NEXT
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS, REGIMES

START = 1_704_067_200_000
"""2024-01-01, midnight UTC."""


def sayings(days: float = 6, seed: int = 1, volatility: float = 4e-4) -> Columns:
    """The columns of ``catalog.SAID`` for so many days of candles; every signal NEUTRAL, every probability noise."""
    random, count = np.random.Generator(np.random.PCG64(seed)), int(days * 1_440)
    close = 50_000 * np.exp(np.cumsum(random.normal(0, volatility, count)))
    opens = np.concatenate([[50_000.0], close[:-1]])
    reach = np.abs(random.normal(0, volatility / 2, (2, count)))
    some = {"volume": 20.0, "quote_volume": 1e6, "trades": 900.0, "taker_buy_base": 10.0, "taker_buy_quote": 5e5}
    regime = np.array(REGIMES, object)[random.integers(8, size=count // 30 + 1)].repeat(30)[:count]
    ahead = random.dirichlet(np.ones(8), count)
    neutral = np.full(count, "NEUTRAL", object)
    atr = close * volatility * 1.5
    return {
        "timestamp": START + MINUTE_MS * np.arange(count),
        "open": opens,
        "high": np.maximum(opens, close) * (1 + reach[0]),
        "low": np.minimum(opens, close) * (1 - reach[1]),
        "close": close,
        **{name: np.full(count, value) for name, value in some.items()},
        "atr": atr,
        "atr_ratio": np.ones(count),
        "regime": regime,
        "regime_confidence": random.uniform(0.5, 1, count),
        "hindsight": regime.copy(),
        **{column.name: ahead[:, i] for i, column in enumerate(NEXT)},
        "warning": np.full(count, "none", object),
        "warning_probability": random.uniform(0, 0.3, count),
        "warning_threshold": np.full(count, 0.8),
        "specialist": neutral.copy(),
        **{name: random.uniform(0, 0.3, count) for name in ("p_sell", "p_buy", "pooled_sell", "pooled_buy")},
        "whale_alert_score": np.full(count, 0.5),
        "impact_type": np.full(count, "none", object),
        "trajectory": np.zeros(count),
        "volatility": np.zeros(count),
        "fused": neutral.copy(),
        "strict": neutral.copy(),
        "promised": np.array(["SELL", "BUY"], object)[random.integers(2, size=count)],
        "confidence": random.uniform(0, 1, count),
        "expected_bps": random.normal(-29, 1, count),
        "stop": close - 2 * atr,
        "target": close + 3 * atr,
        "size": np.full(count, 0.03),
        "profit_buy": random.uniform(0, 0.3, count),
        "profit_sell": random.uniform(0, 0.3, count),
    }
