"""How the paper account fares: each figure with its interval, its sample size and the baseline that it must beat."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modules.core.settings import Costs
from modules.core.statistics import Figures, day_bootstrap, share
from modules.core.tables import Columns, datetime_ist
from modules.core.words import MINUTE_MS
from modules.m6_executor.model import pays_funding

HOUR_MS = 60 * MINUTE_MS
HOURS_A_YEAR = 24 * 365.25
SHARPE_HOURS = 48
"""Hourly returns below which a Sharpe ratio says nothing and is left empty."""

HOLD = "buy and hold over the same candles, after costs"
UNFUNDED = "buy and hold over the same candles, after all costs but funding"
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Course:
    """What must be carried from candle to candle so that a report need not read all of them again.

    ``start`` is the first candle's stamp. Buying and holding from its close costs ``basis`` USD a coin, fee and
    slippage included. A drawdown is a share of the peak before it: of the equity (its first peak is the capital), and
    of buy and hold (its first peak is the basis).
    """

    start: int
    basis: float
    close: float
    peak: float
    drawdown: float
    hold_peak: float
    hold_drawdown: float

    @classmethod
    def begin(cls, timestamp: int, close: float, capital: float, costs: Costs) -> "Course":
        basis = close * (1 + costs.slippage) * (1 + costs.fee)
        return cls(timestamp, basis, close, capital, 0.0, basis, 0.0)

    def after(self, close: float, equity: float) -> "Course":
        """The course with one more candle."""
        peak, hold_peak = max(self.peak, equity), max(self.hold_peak, close)
        drawdown = max(self.drawdown, 1 - equity / peak)
        hold_drawdown = max(self.hold_drawdown, 1 - close / hold_peak)
        return Course(self.start, self.basis, close, peak, drawdown, hold_peak, hold_drawdown)

    def hold_return(self, costs: Costs) -> float:
        """Share of the capital that buying at the first close and selling at the last would have made."""
        return self.close * (1 - costs.slippage) * (1 - costs.fee) / self.basis - 1


def report(trades: Columns, hours: Columns, course: Course, capital: float, costs: Costs, seed: int) -> Columns:
    """The rows of the reports table.

    Parameters
    ----------
    trades : the closed trades, columns as in ``trade_logs``
    hours : a row for each UTC hour: ``timestamp`` its start, ``equity`` and ``close`` at its last candle, the number of
        ``candles``, and of those at whose close a position was open (``exposed``)
    capital : USD at the start
    seed : of the intervals' bootstrap

    Before the first closed trade every value is empty and every n is 0: nothing has been measured. Buying and holding is
    known from its prices alone: where longs pay funding, the words say that it did not.
    """
    hold_is = UNFUNDED if pays_funding(1, costs) else HOLD
    until = datetime_ist(int(hours["timestamp"][-1]))
    scope = f"paper ledger, {datetime_ist(course.start)} IST through the hour of {until} IST, after costs"
    figures = Figures()
    n = len(trades["timestamp"])

    def add(
        name: str,
        value: float,
        rows: int,
        interval: tuple[float, float] = (np.nan, np.nan),
        baseline: float = np.nan,
        baseline_is: str = "",
    ) -> None:
        if not n:
            value, rows, interval = np.nan, 0, (np.nan, np.nan)
        figures.add(scope, name, value, rows, *interval, baseline, baseline_is)

    def measure(
        name: str,
        statistic: Statistic,
        parts: tuple[np.ndarray, ...],
        stamps: np.ndarray,
        rows: int,
        baseline: float = np.nan,
        baseline_is: str = "",
    ) -> None:
        sums = np.stack(parts, 1).astype(float)
        value = _whole(statistic, sums)
        low, high = day_bootstrap(statistic, sums, stamps, seed) if n and np.isfinite(value) else (np.nan, np.nan)
        if (sums >= 0).all():  # few days widen an interval beyond what such a figure can be
            low = np.maximum(low, 0)
        add(name, value, rows, (low, high), baseline, baseline_is)

    pnl, entered = trades["pnl"].astype(float), trades["timestamp"].astype(np.int64)
    one = np.ones(n)
    wins, losses = np.maximum(pnl, 0), np.maximum(-pnl, 0)
    held = (trades["exit_timestamp"].astype(np.int64) - entered) / MINUTE_MS

    add("trades", float(n), n)
    break_even = _break_even(pnl), "break-even win rate at the mean win and the mean loss of these trades"
    won, *sure = share(pnl > 0, entered, seed)
    add("win_rate", won, n, (sure[0], sure[1]), *break_even)
    measure("profit_factor", _ratio, (wins, losses), entered, n, 1.0, "neither gain nor loss")
    measure("mean_net_bps_a_trade", _ratio, (trades["pnl_bps"], one), entered, n, 0.0, "no trade")
    measure("mean_hold_minutes", _ratio, (held, one), entered, n)
    add("costs_paid_usd", float(trades["costs"].astype(float).sum()), n)

    stamps, candles = hours["timestamp"].astype(np.int64), hours["candles"].astype(float)
    total = int(candles.sum())
    growth, hold = _returns(hours["equity"], capital), _returns(hours["close"], course.basis)
    # A short may lose more than everything: its return has no logarithm, so there is a value but no interval.
    compound = np.log1p(np.where(growth > -1, growth, np.nan))
    interval = day_bootstrap(_compounded, compound[:, None], stamps, seed) if n else (np.nan, np.nan)
    add("total_return", float(hours["equity"][-1]) / capital - 1, total, interval, course.hold_return(costs), hold_is)
    hold_sharpe = _whole(_sharpe, _moments(hold))
    sharpe = "sharpe_of_hourly_returns_annualised"
    measure(sharpe, _sharpe, tuple(_moments(growth).T), stamps, len(stamps), hold_sharpe, hold_is)
    add("max_drawdown", course.drawdown, total, baseline=course.hold_drawdown, baseline_is=hold_is)
    measure("exposure", _ratio, (hours["exposed"], candles), stamps, total)
    return figures.columns()


def _returns(levels: np.ndarray, start: float) -> np.ndarray:
    """(N,) returns of (N,) levels, the first over ``start``."""
    path = np.concatenate([[start], levels.astype(float)])
    return path[1:] / path[:-1] - 1


def _whole(statistic: Statistic, parts: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(parts.sum(0)[None])[0])
    return value if np.isfinite(value) else np.nan


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _compounded(sums: np.ndarray) -> np.ndarray:
    return np.expm1(sums[:, 0])


def _moments(returns: np.ndarray) -> np.ndarray:
    return np.stack([returns, returns**2, np.ones(len(returns))], 1)


def _sharpe(sums: np.ndarray) -> np.ndarray:
    """Mean over sample standard deviation, times the root of the hours in a year (Sharpe 1994; no risk-free rate)."""
    total, squares, n = sums.T
    variance = (squares - total**2 / n) / (n - 1)
    return np.where((n >= SHARPE_HOURS) & (variance > 0), total / n / np.sqrt(variance) * np.sqrt(HOURS_A_YEAR), np.nan)


def _break_even(pnl: np.ndarray) -> float:
    """The win rate at which wins and losses of these mean sizes cancel out; NaN until there are both."""
    wins, losses = pnl[pnl > 0], -pnl[pnl <= 0]
    if not len(wins) or not len(losses):
        return np.nan
    return float(losses.mean() / (wins.mean() + losses.mean()))
