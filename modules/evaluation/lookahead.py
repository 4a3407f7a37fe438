"""Looking ahead, and warm-ups: a row must not change with what comes after it, nor with how much came before it.

On anything that turns the flat columns of a market (``flat``) into columns of as many rows, or of fewer where the first
ones are warm-up. The warm-up check follows the recursive analysis of freqtrade.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.evaluation.batch import live_tables
from modules.evaluation.findings import FAIL, PASS, Finding
from modules.m1_data_engine import context
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Feature, Market
from modules.m1_data_engine.model import CONTEXT_NAMES

Compute = Callable[[Columns], Columns]

LOOK_AHEAD, WARM_UP = "look-ahead", "warm-up"
CUTS, WINDOWS = 20, 5
DAY = 1_440
WINDOW = registry.LONGEST_WARMUP + 60 + 2 * DAY
"""Candles of a stretch in which cuts are made: a day of rows before the cuts and a day of future after them."""
TIMES = (1, 2, 4)
"""Multiples of its warm-up from which a row is computed, beside the live buffer's."""
TOLERANCE = 1e-9
"""Relative difference that a warm-up may leave: averages may keep 1e-13 of what came before (``common.FORGOTTEN``), which
sums of hundreds of rows and quotients blow up; the tables keep ten decimals."""


def flat(market: Market) -> Columns:
    """All columns in one dict, those of the optional tables as "table.column"."""
    extras = {f"{table}.{name}": values for table, columns in market.extras.items() for name, values in columns.items()}
    return market.candles | extras


def unflat(columns: Columns) -> Market:
    """The market of which these are the flat columns."""
    market = Market({})
    for key, values in columns.items():
        table, _, name = key.rpartition(".")
        (market.extras.setdefault(table, {}) if table else market.candles)[name] = values
    return market


def rows_of(inputs: Columns, start: int, stop: int) -> Columns:
    """Rows start .. stop-1, copied, so that nothing outside them can be reached."""
    return {name: values[start:stop].copy() for name, values in inputs.items()}


def same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two columns hold the same: texts as they are, numbers bit by bit; any NaN equals any NaN."""
    if one.dtype == object:
        return np.asarray(one == other)
    one, other = np.ascontiguousarray(one, float), np.ascontiguousarray(other, float)
    return (one.view(np.int64) == other.view(np.int64)) | (np.isnan(one) & np.isnan(other))


def another_future(inputs: Columns, cut: int, factor: float = 1.5) -> Columns:
    """The same history with other rows from the cut on: those there are, backward in time, at other prices and volumes.

    The stamps stay. Prices are multiplied by ``factor`` and volumes by 3, so that each row is a valid candle.
    """
    factors = dict.fromkeys(("open", "high", "low", "close"), factor)
    factors |= dict.fromkeys(("volume", "trades", "taker_buy_base"), 3.0)
    factors |= dict.fromkeys(("quote_volume", "taker_buy_quote"), 3.0 * factor)
    changed = rows_of(inputs, 0, len(inputs["timestamp"]))
    for name, values in changed.items():
        if name != "timestamp":
            values[cut:] = values[cut:][::-1] * factors.get(name, 1.0)
    return changed


@dataclass(frozen=True)
class Ahead:
    """A column of which rows before a cut are not the same where the future from the cut on is another one.

    Parameters
    ----------
    how : "cut off" or "changed"
    first : the earliest row that is not the same
    rows : how many there are
    """

    column: str
    cut: int
    how: str
    first: int
    rows: int

    @property
    def reach(self) -> int:
        """Candles after its own that the earliest such row must have used."""
        return self.cut - self.first

    def __str__(self) -> str:
        return f"{self.column}: row {self.first} changes when the future from row {self.cut} on is {self.how}"


def looking_ahead(compute: Compute, inputs: Columns, cuts: Iterable[int]) -> list[Ahead]:
    """Columns whose rows before a cut change, in any bit, when the rows from the cut on are removed or replaced.

    Parameters
    ----------
    cuts : 0 < cut < N
    """
    rows, full, found = len(inputs["timestamp"]), compute(inputs), []
    for number, cut in enumerate(cuts):
        # Up and down in turn: what only asks for the sign of what comes may find it unchanged once.
        others = {"cut off": rows_of(inputs, 0, cut), "changed": another_future(inputs, cut, (1.5, 0.6)[number % 2])}
        for how, other in others.items():
            for name, values in compute(other).items():
                lost = rows - len(full[name])
                unlike = np.flatnonzero(~same(values[: cut - lost], full[name][: cut - lost]))
                if len(unlike):
                    found.append(Ahead(name, cut, how, lost + int(unlike[0]), len(unlike)))
    return found


def warmup_gaps(
    compute: Compute,
    inputs: Columns,
    full: Columns,
    warmup: int,
    ends: Iterable[int],
    usual: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """How far each column's rows move when only they and the ``warmup`` rows before them are known: the greatest
    difference, on the column's scale (its standard deviation, its own size or ``usual``, whichever is greatest).

    Parameters
    ----------
    full : what ``compute`` makes of all of ``inputs``
    ends : each the row after the one looked at, greater than ``warmup``
    usual : what a column usually varies by, for inputs on which it hardly does
    """
    scales = {name: max((usual or {}).get(name, 0.0), _deviation(values)) for name, values in full.items()}
    gaps = dict.fromkeys(full, 0.0)
    for end in ends:
        for name, values in compute(rows_of(inputs, end - warmup - 1, end)).items():
            served, trained = float(values[-1]), float(full[name][end - 1])
            if served == trained or (np.isnan(served) and np.isnan(trained)):
                continue
            gap = abs(served - trained) / max(scales[name], abs(trained))
            gaps[name] = max(gaps[name], np.inf if np.isnan(gap) else gap)
    return gaps


def _deviation(column: np.ndarray) -> float:
    known = column[np.isfinite(column)]
    return float(known.std()) if len(known) else 0.0


def features_of(features: Sequence[Feature]) -> Compute:
    """The features' values, NaN in their warm-up."""

    def compute(inputs: Columns) -> Columns:
        values = registry.compute(unflat(inputs), features)
        return {feature.name: values[:, column] for column, feature in enumerate(features)}

    return compute


def tables_of(run: Run) -> Compute:
    """The columns of every live table, as "table.column"."""

    def compute(inputs: Columns) -> Columns:
        market = unflat(inputs)
        extras = {table: {"timestamp": inputs["timestamp"], **columns} for table, columns in market.extras.items()}
        return {
            f"{table}.{name}": values
            for table, columns in live_tables(run, market.candles, extras).items()
            for name, values in columns.items()
            if name not in ("timestamp", "status")
        }

    return compute


def everything_judged(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features, and the context columns as if they were features."""

    def column(name: str) -> Callable[[Market], np.ndarray]:
        return lambda market: context.context(market)[name]

    return (*features, *(Feature("context", name, context.WARMUP, column(name)) for name in CONTEXT_NAMES if name != "depth_btc"))


def check_look_ahead(run: Run, market: Market, features: Sequence[Feature], progress: Progress) -> list[Finding]:
    """Every candidate and every live table, in stretches all over the candles, cut off and changed at seeded places."""
    random = np.random.default_rng(run.settings.learning.seed)
    inputs, rows = flat(market), len(market)
    length = min(WINDOW, rows)
    starts = np.unique(np.linspace(0, rows - length, WINDOWS).astype(int))
    each = -(-CUTS // len(starts))
    progress.step(f"{LOOK_AHEAD}: {len(starts) * each} cuts", len(starts))
    of_features, of_tables = features_of(features), tables_of(run)
    found: dict[str, list[Ahead]] = defaultdict(list)
    compared: dict[str, int] = defaultdict(int)

    def compute(columns: Columns) -> Columns:
        return of_features(columns) | of_tables(columns)

    for start in starts:
        part = rows_of(inputs, start, start + length)
        tables = of_tables(part)
        lost = length - min(map(len, tables.values()))
        lowest = min(max(lost, registry.LONGEST_WARMUP) + 1, length - 2)
        cuts = random.integers(lowest, length - min(DAY, (length - lowest) // 2), each)
        for ahead in looking_ahead(compute, part, np.sort(cuts).tolist()):
            found[ahead.column].append(ahead)
        for name in (*(feature.name for feature in features), *tables):
            compared[name] += 2 * int(np.sum(cuts - (lost if name in tables else 0)))
        progress.advance()
    progress.done()
    return [_told(name, found[name], n) for name, n in compared.items()]


def _told(column: str, found: list[Ahead], compared: int) -> Finding:
    what = "candles after its own that a row uses, at least"
    if not found:
        return Finding(LOOK_AHEAD, column, PASS, 0, what, "", compared)
    reach = max(ahead.reach for ahead in found)
    cuts, rows = len({ahead.cut for ahead in found}), sum(ahead.rows for ahead in found)
    detail = f"{rows} of {compared} values before {cuts} cuts change with what comes after them"
    return Finding(LOOK_AHEAD, column, FAIL, reach, what, detail, compared)


def check_warm_up(run: Run, market: Market, features: Sequence[Feature], progress: Progress) -> list[Finding]:
    """How far every candidate and context column moves with the length of its warm-up."""
    judged, rows = everything_judged(features), len(market)
    groups: dict[tuple[int, str], list[Feature]] = defaultdict(list)
    for feature in judged:  # the user's own one by one, for any of them may fail on so few rows
        groups[feature.warmup, feature.name if feature.family == registry.OWN else ""].append(feature)
    length = min(rows, max(TIMES) * registry.LONGEST_WARMUP + DAY + 1)
    starts = np.unique(np.linspace(0, rows - length, 2).astype(int))
    progress.step(f"{WARM_UP}: {len(judged)} columns", len(starts) * len(groups))
    gaps: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    ends = np.linspace(min(length, max(length - DAY, registry.LONGEST_WARMUP + 1)), length, 3).astype(int)
    for start in starts:
        part = rows_of(flat(market), start, start + length)
        whole = unflat(part)
        for (warmup, _), group in groups.items():
            full = {feature.name: registry.compute(whole, [feature])[:, 0] for feature in group}
            spans = {f"{times}x": times * warmup for times in TIMES} | {"live buffer": registry.LONGEST_WARMUP}
            for what, span in spans.items():
                if span < ends[0]:
                    try:
                        moved = warmup_gaps(features_of(group), part, full, span, ends.tolist())
                    except PipelineError:  # it cannot be computed from so few rows
                        moved = {feature.name: np.inf for feature in group}
                    for name, gap in moved.items():
                        gaps[name][what] = max(gaps[name][what], gap)
            progress.advance()
    progress.done()
    found = []
    for feature in judged:
        by_span = gaps[feature.name]
        worst = max(by_span.get(what, 0.0) for what in ("1x", "live buffer"))
        detail = f"warm-up {feature.warmup}: " + ", ".join(f"{what} {value:.1e}" for what, value in by_span.items())
        verdict = PASS if worst <= TOLERANCE else FAIL
        what = f"relative difference to the full history, at most {TOLERANCE:g}"
        found.append(Finding(WARM_UP, feature.name, verdict, worst, what, detail, len(starts) * len(ends)))
    return found
