"""The two feeds of module 1: the exchange, and a file that is replayed. Both answer as ``core.module.Source`` says."""

from dataclasses import dataclass, field

import numpy as np

from modules.core import clock
from modules.core.settings import Settings
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS
from modules.m1_data_engine.sources import BinanceSource

BOOK_LEVELS = 1_000
"""Levels of the order book asked for: a hundred end before ``depth_bps`` on a busy book; weight 50 of 6,000 a minute."""
PAIRS = {"eth": "ETHUSDT", "sol": "SOLUSDT"}


class ExchangeFeed:
    """Closed candles, depth, and ETH and SOL where the features in use ask for them, from Binance."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._main = self._source(settings.exchange.symbol)

    def _source(self, symbol: str) -> BinanceSource:
        exchange = self.settings.exchange
        return BinanceSource(
            exchange.base_url,
            symbol,
            exchange.timeout_s,
            exchange.attempts,
            clock.sleep,
            self.settings.data.max_gap_minutes,
        )

    def candles(self, after_ms: int | None, upto_ms: int, count: int) -> Columns:
        return _upto(self._main.candles(after_ms, count, clock.now_ms()), upto_ms)

    def extra(self, name: str, after_ms: int | None, upto_ms: int, count: int) -> Columns | None:
        if name == "depth":
            book = self._main.depth(self.settings.exchange.depth_bps, BOOK_LEVELS)
            return {"timestamp": np.array([upto_ms]), **{key: np.array([value]) for key, value in book.items()}}
        if name in PAIRS:
            rows = self._source(PAIRS[name]).candles(after_ms, count, clock.now_ms())
            return _upto({key: rows[key] for key in ("timestamp", "close", "volume", "taker_buy_base")}, upto_ms)
        return None


@dataclass(frozen=True)
class FileFeed:
    """Candles, and optional tables, that are there already: a replay asks for them minute by minute."""

    rows: Columns
    extras: dict[str, Columns] = field(default_factory=dict)

    def candles(self, after_ms: int | None, upto_ms: int, count: int) -> Columns:
        return _between(self.rows, after_ms, upto_ms, count)

    def extra(self, name: str, after_ms: int | None, upto_ms: int, count: int) -> Columns | None:
        return _between(self.extras[name], after_ms, upto_ms, count) if name in self.extras else None


def _between(rows: Columns, after_ms: int | None, upto_ms: int, count: int) -> Columns:
    stamps = rows["timestamp"]
    end = int(np.searchsorted(stamps, upto_ms, side="right"))
    oldest = upto_ms - count * MINUTE_MS if after_ms is None else max(after_ms, upto_ms - count * MINUTE_MS)
    start = int(np.searchsorted(stamps, oldest, side="right"))
    return {name: values[start:end] for name, values in rows.items()}


def _upto(rows: Columns, upto_ms: int) -> Columns:
    there = rows["timestamp"] <= upto_ms
    return {name: values[there] for name, values in rows.items()}
