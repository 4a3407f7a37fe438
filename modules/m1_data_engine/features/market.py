"""What a feature is, and what it is computed from."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Columns = dict[str, np.ndarray]
Unit = Literal["ratio", "points"]

CANDLE_COLUMNS = (
    "timestamp",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
)

EXTRA_COLUMNS: dict[str, tuple[str, ...]] = {
    "depth": ("bid_btc", "ask_btc", "spread"),
    "whale": ("whale_alert_score", "impact"),
    "sentiment": ("trajectory", "volatility"),
    "eth": ("close", "volume", "taker_buy_base"),
    "sol": ("close", "volume", "taker_buy_base"),
    "perp": ("close",),
    "premium": ("close",),
    "funding": ("funding_rate",),
}
"""The optional tables. ``spread`` is in points (quote currency); ``impact`` is -1, 0 or 1; premium is a ratio."""


@dataclass
class Market:
    """N closed, contiguous one-minute candles and what else was known when each of them closed.

    Parameters
    ----------
    candles : ``CANDLE_COLUMNS``, (N,) each, float64 but for ``timestamp`` (open time, Unix ms UTC)
    extras : tables out of ``EXTRA_COLUMNS``, (N,) float64 each, joined backward onto the candles; NaN where unknown

    The arrays are taken as they are and must not be changed afterwards: ``cache`` holds what was computed from them.
    """

    candles: Columns
    extras: dict[str, Columns] = field(default_factory=dict)
    cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.candles["close"])

    def __getitem__(self, column: str) -> Array:
        """One column of the candles."""
        return cast(Array, self.candles[column])

    def extra(self, table: str, column: str) -> Array:
        """One column of an optional table."""
        return cast(Array, self.extras[table][column])


@dataclass(frozen=True)
class Feature:
    """One column of the feature table.

    Parameters
    ----------
    family, name : where it belongs and what it is called; names are unique over all families
    warmup : rows before the first valid one: rows 0 .. warmup-1 are NaN, row t depends on rows t-warmup .. t only
    compute : Market of N rows -> (N,) float64; must not change what it is given, nor cached intermediates
    unit : "ratio" does not change when all prices are multiplied; "points" is multiplied with them
    needs : the optional tables that it reads; () for candles alone
    """

    family: str
    name: str
    warmup: int
    compute: Callable[[Market], Array]
    unit: Unit = "ratio"
    needs: tuple[str, ...] = ()


P = ParamSpec("P")
T = TypeVar("T")


def shared(function: Callable[Concatenate[Market, P], T]) -> Callable[Concatenate[Market, P], T]:
    """Compute an intermediate once per Market and arguments, however many features ask for it."""
    names = tuple(signature(function).parameters)[1:]

    def lookup(market: Market, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (function, *args, *(kwargs[name] for name in names[len(args) :]))
        if key not in market.cache:
            market.cache[key] = function(market, *args, **kwargs)
        return cast(T, market.cache[key])

    return lookup
