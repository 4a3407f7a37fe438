"""All features of all families: which there are, and their table of values.

A family is a file of this folder with ``FEATURES: tuple[Feature, ...]``; a new one is added to ``FAMILIES``.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from modules.core.errors import PipelineError
from modules.m1_data_engine.features import (
    cross_asset,
    market_regime,
    microstructure,
    momentum,
    onchain_sentiment,
    pattern,
    price,
    time,
    volatility,
    volume,
)
from modules.m1_data_engine.features.market import (
    CANDLE_COLUMNS,
    EXTRA_COLUMNS,
    Array,
    Columns,
    Feature,
    Market,
)

__all__ = [
    "CANDLE_COLUMNS",
    "EXTRA_COLUMNS",
    "FAMILIES",
    "LONGEST_WARMUP",
    "Columns",
    "Feature",
    "Market",
    "candidates",
    "compute",
    "left_out",
    "named",
]

FAMILIES: dict[str, tuple[Feature, ...]] = {
    "price": price.FEATURES,
    "volume": volume.FEATURES,
    "volatility": volatility.FEATURES,
    "momentum": momentum.FEATURES,
    "pattern": pattern.FEATURES,
    "market_regime": market_regime.FEATURES,
    "time": time.FEATURES,
    "microstructure": microstructure.FEATURES,
    "onchain_sentiment": onchain_sentiment.FEATURES,
    "cross_asset": cross_asset.FEATURES,
}

_BY_NAME: dict[str, Feature] = {feature.name: feature for family in FAMILIES.values() for feature in family}

LONGEST_WARMUP = max(feature.warmup for feature in _BY_NAME.values())
"""Rows before the first row on which every feature is valid. A live buffer of LONGEST_WARMUP + 1 rows gives its last
row as the full history does."""


def candidates(available: Collection[str] = ()) -> tuple[Feature, ...]:
    """Every feature that can be computed, always in the same order.

    Parameters
    ----------
    available : the optional tables at hand, out of ``EXTRA_COLUMNS``
    """
    _check_tables(available)
    return tuple(feature for feature in _BY_NAME.values() if set(feature.needs) <= set(available))


def left_out(available: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """For a message to the user: each table that is not at hand -> the features left out for want of it."""
    _check_tables(available)
    return {
        table: tuple(feature.name for feature in _BY_NAME.values() if table in feature.needs)
        for table in EXTRA_COLUMNS
        if table not in available
    }


def named(names: Iterable[str]) -> tuple[Feature, ...]:
    """The features of these names, in the order given: how a saved choice is computed again."""
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in _BY_NAME]
    if unknown:
        raise PipelineError(
            f"no such feature: {', '.join(unknown)}. The models were trained with another version of the features: train again"
        )
    return tuple(_BY_NAME[name] for name in wanted)


def compute(market: Market, features: Sequence[Feature]) -> Array:
    """The features' values.

    Returns
    -------
    (N, len(features)) float64, column-major (each feature contiguous). Rows before a feature's warm-up are NaN; so is
    every row whose window reaches an unknown value of an optional table.
    """
    values = np.empty((len(market), len(features)), order="F")
    for column, feature in enumerate(features):
        values[:, column] = feature.compute(market)
        values[: feature.warmup, column] = np.nan
    return values


def _check_tables(available: Collection[str]) -> None:
    unknown = sorted(set(available) - set(EXTRA_COLUMNS))
    if unknown:
        raise ValueError(f"not an optional table: {', '.join(unknown)}; there are {', '.join(EXTRA_COLUMNS)}")
