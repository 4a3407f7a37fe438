"""Candles for tests: a seeded random walk, degenerate markets, and real ones where they are at hand."""

import csv
import gzip
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from modules.core.words import MINUTE_MS
from modules.m1_data_engine.features.market import CANDLE_COLUMNS, Columns, Market

START = 1_704_326_400_000
"""Thursday 2024-01-04 00:00 UTC, so that two days later it is the weekend."""
REAL_MARKET = Path(__file__).resolve().parents[3] / "shared" / "data" / "market"


def candles_from(prices: np.ndarray, volume: np.ndarray, rng: np.random.Generator) -> Columns:
    """Valid candles that close at ``prices[1:]`` and open near the close before; gaps and shadows need volume."""
    rows, traded, closes = len(volume), volume > 0, prices[1:]
    opens = prices[:-1] * (1 + 1e-5 * traded * rng.normal(size=rows))
    shadow = np.minimum(opens, closes) * 3e-4 * traded
    high = np.maximum(opens, closes) + shadow * rng.random(rows) ** 2
    low = np.minimum(opens, closes) - shadow * rng.random(rows) ** 2
    share = np.clip(rng.normal(0.5, 0.2, rows), 0, 1)
    average = low + (high - low) * rng.random(rows)
    return {
        "timestamp": START + MINUTE_MS * np.arange(rows),
        "open": opens,
        "high": high,
        "low": low,
        "close": closes.copy(),
        "volume": volume,
        "quote_volume": volume * average,
        "trades": np.ceil(volume * rng.lognormal(3, 0.7, rows)),
        "taker_buy_base": volume * share,
        "taker_buy_quote": volume * share * average,
    }


def random_candles(rows: int, seed: int = 0, price: float = 42_000.0) -> Columns:
    """A random walk whose volatility and volume breathe together; now and then a minute without a trade."""
    rng = np.random.default_rng(seed)
    activity = np.exp(0.7 * np.sin(np.arange(rows) / 97 + rng.random()) + rng.normal(0, 0.5, rows))
    volume = 10 * activity * (rng.random(rows) > 0.01)
    moves = np.where(volume > 0, 6e-4 * activity * rng.normal(size=rows), 0.0)
    prices = price * np.exp(np.concatenate(([0.0], np.cumsum(moves))))
    return candles_from(prices, volume, rng)


def random_extras(candles: Columns, seed: int = 0) -> dict[str, Columns]:
    """Every optional table, without unknown values."""
    rng = np.random.default_rng(seed + 1_000)
    rows, close = len(candles["close"]), candles["close"]

    def coin(price: float) -> Columns:
        volume = rng.lognormal(3, 1, rows)
        walk = np.exp(np.cumsum(rng.normal(0, 5e-4, rows)))
        return {
            "close": price * np.sqrt(close / close[0]) * walk,
            "volume": volume,
            "taker_buy_base": volume * rng.random(rows),
        }

    return {
        "depth": {
            "bid_btc": rng.lognormal(1, 1, rows),
            "ask_btc": rng.lognormal(1, 1, rows),
            "spread": rng.integers(1, 500, rows) / 100,
        },
        "whale": {
            "whale_alert_score": rng.random(rows) * (rng.random(rows) < 0.2),
            "impact": rng.integers(-1, 2, rows).astype(float),
        },
        "sentiment": {"trajectory": rng.uniform(-1, 1, rows), "volatility": rng.random(rows)},
        "eth": coin(2_300.0),
        "sol": coin(100.0),
        "perp": {"close": close * (1 + rng.normal(0, 3e-4, rows))},
        "premium": {"close": rng.normal(0, 3e-4, rows)},
        "funding": {"funding_rate": np.repeat(rng.normal(0, 1e-4, rows // 480 + 1), 480)[:rows]},
    }


def random_market(rows: int, seed: int = 0) -> Market:
    """Random candles with every optional table."""
    candles = random_candles(rows, seed)
    return Market(candles, random_extras(candles, seed))


def real_candles(rows: int, skip: int = 0, name: str = "BTCUSDT_1m_history.csv.gz") -> Columns:
    """Real candles from row ``skip`` of a file on; skips the test, with a message, where the file is absent."""
    path = REAL_MARKET / name
    if not path.exists():
        pytest.skip(f"needs the real candles of shared/data/market/{name}, which are not here")
    with gzip.open(path, "rt") as lines:
        reader = csv.reader(lines)
        header = next(reader)
        if tuple(header) != CANDLE_COLUMNS:
            raise ValueError(f"{name}: header {header}")
        table = list(islice(reader, skip, skip + rows))
    values = np.array(table, dtype=np.float64)
    candles = {column: values[:, i].copy() for i, column in enumerate(CANDLE_COLUMNS)}
    return candles | {"timestamp": candles["timestamp"].astype(np.int64)}
