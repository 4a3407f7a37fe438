"""All features of all families: which there are, and their table of values.

A family is a file of this folder with ``FEATURES: tuple[Feature, ...]``; a new one is added to ``FAMILIES``. The user's
own file of the same shape is the further family ``own``: see ``own_features``.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np

from modules.core.catalog import CONTEXT
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
    "OWN",
    "Columns",
    "Feature",
    "Market",
    "candidates",
    "compute",
    "left_out",
    "named",
    "own_features",
    "use_own",
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

OWN = "own"
"""The family of the user's own features."""

_OURS: dict[str, Feature] = {feature.name: feature for family in FAMILIES.values() for feature in family}
_BY_NAME = dict(_OURS)

LONGEST_WARMUP = max(feature.warmup for feature in _OURS.values())
"""Rows before the first row on which every feature is valid. A live buffer of LONGEST_WARMUP + 1 rows gives its last
row as the full history does."""


def own_features(source: bytes, where: str = "the trained copy of own_features") -> tuple[Feature, ...]:
    """The features of a user's Python file, which is run as it is.

    Parameters
    ----------
    where : what messages call the file

    Raises
    ------
    PipelineError : the file does not run, or its ``FEATURES`` are not what they must be; all faults at once
    """
    module = ModuleType(OWN)
    module.__file__ = where
    try:
        exec(compile(source, where, "exec"), module.__dict__)
    except Exception as error:  # whatever the user's code raises is the user's to read
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise PipelineError(f"{where}{line}: {type(error).__name__}: {error}") from error
    given = getattr(module, "FEATURES", None)
    if not isinstance(given, tuple) or not given or not all(isinstance(feature, Feature) for feature in given):
        raise PipelineError(f"{where}: must hold FEATURES, a tuple of Feature as in modules/m1_data_engine/features/market.py")
    names = [feature.name for feature in given]
    taken = {"timestamp", "status", *(column.name for column in CONTEXT), *_OURS}
    faults = [f"{name!r} is no name: use letters, digits and _" for name in names if not str(name).isidentifier()]
    faults += [f"{name} is taken" for name in names if name in taken]
    faults += [f"{name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    for feature in given:
        if not isinstance(feature.warmup, int) or not 0 <= feature.warmup <= LONGEST_WARMUP:
            faults.append(f"{feature.name}: warmup must be 0 to {LONGEST_WARMUP} rows, which is what the live buffer holds")
        if unknown := sorted(set(feature.needs) - set(EXTRA_COLUMNS)):
            faults.append(f"{feature.name} needs {', '.join(unknown)}: no such table; there are {', '.join(EXTRA_COLUMNS)}")
    if faults:
        raise PipelineError("\n".join([f"{where}: {len(faults)} fault(s)", *(f"  - {fault}" for fault in faults)]))
    return tuple(replace(feature, family=OWN, compute=_watched(feature, where)) for feature in given)


def _watched(feature: Feature, where: str) -> Callable[[Market], Array]:
    """What the user's feature computes, or a message that names it; what is not finite is unknown."""

    def compute(market: Market) -> Array:
        try:
            with np.errstate(all="ignore"):
                values = np.array(feature.compute(market), float)
        except Exception as error:
            raise PipelineError(f"{where}: {feature.name} failed: {type(error).__name__}: {error}") from error
        if values.shape != (len(market),):
            raise PipelineError(f"{where}: {feature.name} gave {values.shape} values for {len(market)} candles")
        values[~np.isfinite(values)] = np.nan
        return values

    return compute


def use_own(features: Sequence[Feature]) -> None:
    """From now on these are the family ``own``, in place of any before."""
    _BY_NAME.clear()
    _BY_NAME.update(_OURS | {feature.name: feature for feature in features})


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
