"""The report: each figure by hand, and no figure where nothing was measured."""

from dataclasses import replace

import numpy as np
import pytest

from modules.core.settings import Costs
from modules.core.words import MINUTE_MS
from modules.m6_executor.reports import HOUR_MS, HOURS_A_YEAR, UNFUNDED, Course, report

COSTS = Costs(fee=0.001, slippage=0.0005)
CAPITAL = 10_000.0
DAY_MS = 24 * HOUR_MS


def hours_of(equity, close, candles=60, exposed=0):
    n = len(equity)
    return {
        "timestamp": np.arange(n, dtype=np.int64) * HOUR_MS,
        "equity": np.array(equity, float),
        "close": np.array(close, float),
        "candles": np.full(n, float(candles)),
        "exposed": np.full(n, float(exposed)),
    }


def trades_of(pnl, days=None):
    n = len(pnl)
    entered = np.array(days if days is not None else np.arange(n) % 3, np.int64) * DAY_MS + np.arange(n) * MINUTE_MS
    pnl = np.array(pnl, float)
    return {
        "timestamp": entered,
        "exit_timestamp": entered + 5 * MINUTE_MS,
        "pnl": pnl,
        "pnl_bps": pnl / 4,
        "costs": np.full(n, 1.5),
    }


def course_of(equity, close):
    course = Course.begin(0, close[0], CAPITAL, COSTS)
    for price, level in zip(close, equity, strict=True):
        course = course.after(price, level)
    return course


def figures(trades, equity, close, **more):
    made = report(trades, hours_of(equity, close, **more), course_of(equity, close), CAPITAL, COSTS, seed=1)
    rows = zip(*(made[name] for name in made), strict=True)
    return {row[1]: dict(zip(made, row, strict=True)) for row in rows}


def test_without_a_trade_nothing_is_claimed():
    rows = figures(trades_of([]), [CAPITAL] * 72, np.linspace(100, 90, 72))
    assert len(rows) == 10
    for row in rows.values():
        assert np.isnan([row["value"], row["low"], row["high"]]).all()
        assert row["n"] == 0
    assert rows["total_return"]["baseline"] == pytest.approx(0.9 * (0.9995 * 0.999) / (1.0005 * 1.001) - 1)


def test_figures_of_trades():
    rows = figures(trades_of([30, -10, -20, 40]), [CAPITAL, 10_040], [100, 100])
    assert rows["trades"]["value"] == 4
    assert (rows["win_rate"]["value"], rows["win_rate"]["n"]) == (0.5, 4)
    assert rows["win_rate"]["baseline"] == pytest.approx(15 / (35 + 15))
    assert (rows["profit_factor"]["value"], rows["profit_factor"]["baseline"]) == (pytest.approx(70 / 30), 1)
    assert (rows["mean_net_bps_a_trade"]["value"], rows["mean_net_bps_a_trade"]["baseline"]) == (2.5, 0)
    assert (rows["mean_hold_minutes"]["value"], rows["costs_paid_usd"]["value"]) == (5, 6)
    assert rows["win_rate"]["low"] < 0.5 < rows["win_rate"]["high"]


def test_wins_alone_make_no_profit_factor():
    rows = figures(trades_of([1, 2, 3]), [10_006], [100])
    assert np.isnan(rows["profit_factor"]["value"])
    assert np.isnan(rows["win_rate"]["baseline"])
    assert rows["profit_factor"]["n"] == 3


def test_one_day_has_no_interval():
    rows = figures(trades_of([5, -5], days=[0, 0]), [CAPITAL] * 3, [100] * 3)
    assert all(np.isnan(row["low"]) and np.isnan(row["high"]) for row in rows.values())


def test_return_and_drawdown_stand_beside_buy_and_hold():
    rows = figures(trades_of([200]), [9_900, 9_900, 10_200, 9_996, 10_200], [100, 80, 60, 90, 120], exposed=15)
    assert rows["total_return"]["value"] == pytest.approx(0.02)
    assert rows["total_return"]["baseline"] == pytest.approx(1.2 * (0.9995 * 0.999) / (1.0005 * 1.001) - 1)
    assert rows["max_drawdown"]["value"] == pytest.approx(0.02)
    assert rows["max_drawdown"]["baseline"] == pytest.approx(1 - 60 / (100 * 1.0005 * 1.001))
    assert (rows["exposure"]["value"], rows["exposure"]["n"]) == (0.25, 300)


def test_a_hold_that_would_pay_funding_says_that_it_did_not():
    costs = replace(COSTS, funding="both")
    made = report(trades_of([200]), hours_of([9_900], [100]), course_of([9_900], [100]), CAPITAL, costs, seed=1)
    told = [words for words in made["baseline_is"] if words.startswith("buy and hold")]
    assert told == [UNFUNDED] * 3


def test_sharpe_is_that_of_hourly_returns():
    random = np.random.default_rng(3)
    equity, close = (level * np.exp(np.cumsum(random.normal(1e-4, 1e-3, 120))) for level in (CAPITAL, 100))
    row = figures(trades_of([1, -1]), equity, close)["sharpe_of_hourly_returns_annualised"]
    returns = np.diff(equity, prepend=CAPITAL) / np.append(CAPITAL, equity[:-1])
    assert row["value"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(HOURS_A_YEAR))
    assert row["low"] < row["value"] < row["high"]
    assert np.isfinite(row["baseline"])
    assert row["n"] == 120


@pytest.mark.parametrize("equity", [[CAPITAL + i for i in range(47)], [CAPITAL] * 72])
def test_too_few_or_flat_returns_make_no_sharpe(equity):
    rows = figures(trades_of([1, -1]), equity, [100.0] * len(equity))
    assert np.isnan(rows["sharpe_of_hourly_returns_annualised"]["value"])


@pytest.mark.filterwarnings("error")
def test_ruin_is_a_figure_too():
    """A short can lose more than everything; the return says so, without an interval."""
    rows = figures(trades_of([-11_000]), [CAPITAL] * 30 + [-1_000] * 30, [100] * 30 + [250] * 30)
    assert rows["total_return"]["value"] == pytest.approx(-1.1)
    assert rows["max_drawdown"]["value"] == pytest.approx(1.1)
