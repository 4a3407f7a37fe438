"""Features of closed candles, and how they are selected and scaled. No files, no clock, no network."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from modules.core import evidence
from modules.core.catalog import CONTEXT, EXTRAS, Column
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS
from modules.m1_data_engine import context
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import EXTRA_COLUMNS, Market

CONTEXT_NAMES = tuple(column.name for column in CONTEXT)
EXTRA_MAY_BE_OLD_MS = {"depth": 2 * MINUTE_MS, "funding": 24 * 60 * MINUTE_MS}
"""How old a joined row may be; a minute for every table that is not named."""


@dataclass(frozen=True)
class Scaler:
    """Min-max scaling: (x - low) / (high - low), column by column; a constant column becomes 0.

    What scikit-learn's MinMaxScaler does, for the live path, which cannot afford its import.
    """

    low: np.ndarray
    high: np.ndarray

    def scale(self, rows: np.ndarray) -> np.ndarray:
        """(N, F) scaled rows; what lies beyond the fitted range lies beyond 0..1."""
        width = self.high - self.low
        return (rows - self.low) / np.where(width > 0, width, 1.0)


def join_backward(stamps: np.ndarray, rows: Columns, names: Sequence[str], may_be_old_ms: int) -> Columns:
    """The newest row of an optional table known at each candle: NaN where there is none or it is too old.

    Parameters
    ----------
    stamps : (N,) candle open times, Unix ms
    rows : the table; a row's stamp is its candle's open time, or the time at which it was published
    may_be_old_ms : age beyond which a row says nothing any more
    """
    known = np.asarray(rows["timestamp"])
    if not len(known):
        return {name: np.full(len(stamps), np.nan) for name in names}
    position = np.searchsorted(known, stamps, side="right") - 1
    newest = known[np.maximum(position, 0)]
    fresh = (position >= 0) & (stamps - newest <= may_be_old_ms)
    return {name: np.where(fresh, np.asarray(rows[name], float)[np.maximum(position, 0)], np.nan) for name in names}


def market_of(candles: Columns, extras: dict[str, Columns]) -> Market:
    """Candles with every optional table joined onto them; whale and sentiment rows come already lagged."""
    stamps = candles["timestamp"]
    joined = {
        name: join_backward(stamps, rows, EXTRA_COLUMNS[name], EXTRA_MAY_BE_OLD_MS.get(name, 0) if name in EXTRAS else 0)
        for name, rows in extras.items()
    }
    return Market(candles, joined)


def evidence_extras(timestamps: np.ndarray, said: Columns) -> dict[str, Columns]:
    """What the whale and sentiment rooms said, (N,) columns already lagged, as optional tables of the market."""
    whale = {"whale_alert_score": said["whale_alert_score"], "impact": evidence.whale_sign(said["impact_type"])}
    sentiment = {"trajectory": said["trajectory"], "volatility": said["volatility"]}
    return {"whale": {"timestamp": timestamps, **whale}, "sentiment": {"timestamp": timestamps, **sentiment}}


def features(market: Market, names: Collection[str]) -> np.ndarray:
    """(N, len(names)) raw features in the order of ``names``; NaN in each one's warm-up."""
    return registry.compute(market, registry.named(names))


def rows_needed(names: Collection[str]) -> int:
    """Candles that a live row needs: the longest warm-up of the named features and the context, and the row itself."""
    return max([context.WARMUP, *(feature.warmup for feature in registry.named(names))]) + 1


def fill_missing(rows: np.ndarray, max_missing: float, max_age: int) -> np.ndarray:
    """Carry the last observation of each column forward, in place, and find the rows that still miss too much.

    Nothing is interpolated: between two known values that would use the later one (law 1), and after carrying
    forward only a column's first values can be missing, which have nothing before them to start from.

    Parameters
    ----------
    rows : (N, F), changed
    max_age : rows for which an observation may be carried on; beyond it nothing is known

    Returns
    -------
    (N,) bool, False where more than ``max_missing`` of the row was missing before filling, or some still is
    """
    missing = np.zeros(len(rows))
    empty = np.zeros(len(rows), bool)
    for column in rows.T:
        unknown = np.isnan(column)
        missing += unknown
        here = np.arange(len(column))
        latest = np.maximum.accumulate(np.where(unknown, 0, here))
        column[:] = np.where(here - latest <= max_age, column[latest], np.nan)
        empty |= np.isnan(column)
    return (missing <= max_missing * rows.shape[1]) & ~empty


def bins(values: np.ndarray, count: int = 16) -> np.ndarray:
    """(N,) the quantile bin of each value, 0 to at most ``count``; a value that most rows have gets a bin of its own."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)))[:-1]
    return np.searchsorted(edges, values, side="left")


def select(rankings: Sequence[np.ndarray], sample: np.ndarray, count: int, max_correlation: float) -> list[int]:
    """The best columns of several rankings in turn, passing over any that says nearly the same as one already taken.

    Parameters
    ----------
    rankings : of each, (F,) scores, higher is better
    sample : (N, F) training rows of the columns
    max_correlation : absolute rank correlation (Spearman) with a column already taken above which one is passed over

    Returns
    -------
    at most ``count`` column numbers in the order taken; ties go to the earlier column
    """
    from scipy.stats import rankdata  # training only: its import costs more than the live minute

    ranks = rankdata(sample, axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.maximum(np.linalg.norm(ranks, axis=0), 1e-12)
    waiting = [list(np.argsort(-scores, kind="stable")) for scores in rankings]
    taken: list[int] = []
    while len(taken) < count and any(waiting):
        for ranking in waiting:
            while ranking and len(taken) < count:
                column = int(ranking.pop(0))
                if all(abs(ranks[:, column] @ ranks[:, other]) <= max_correlation for other in taken):
                    taken.append(column)
                    break
    return taken


def chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive parts of ``size`` rows; a rest below half of that joins the part before it, for a scaler fitted on a
    few rows would be the one that the live minute uses."""
    count = max(1, round(len(rows) / size))
    return [rows[k * size : (k + 1) * size if k + 1 < count else len(rows)] for k in range(count)]


def drift(before: np.ndarray, after: np.ndarray) -> float:
    """Mean squared difference of the column means of two scaled chunks."""
    return float(np.mean((before.mean(axis=0) - after.mean(axis=0)) ** 2))


def table(timestamps: np.ndarray, context_columns: Columns, scaled: np.ndarray, names: Sequence[str]) -> Columns:
    """Context and scaled features as the columns of a features table, with the decimals that its file keeps: a tree may
    split between a number and its rounding, so all who read it must see the same."""
    columns = {"timestamp": timestamps, **{c.name: np.round(context_columns[c.name], c.decimals) for c in CONTEXT}}
    return columns | {name: np.round(scaled[:, i], Column.decimals) for i, name in enumerate(names)}
