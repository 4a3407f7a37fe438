"""The backtest against the paper executor, the ledger of a replay, and figures counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.evaluation import backtest as tested
from modules.evaluation import testimony
from modules.evaluation.batch import with_history
from modules.evaluation.engine import PRICES, Orders, simulate
from modules.evaluation.measure import accounts, evaluate, hold, trade
from modules.evaluation.strategies import OURS, strategies
from modules.m1_data_engine.candle_files import read_candles
from modules.m6_executor.model import Account, Candle, Decision, step
from modules.m6_executor.reports import HOUR_MS, Course, report
from tests.conftest import FOLLOWING_MINUTES, Desk

SIDES = {-1: "SELL", 0: "NEUTRAL", 1: "BUY"}
LEARNED = 1_704_667_140_000
"""The last training candle of the fixture: 2024-01-07 22:39 UTC."""


def of_file(desk: Desk) -> tuple[Columns, dict[str, Orders]]:
    """What was said of the following candles of the fixture, and what each strategy orders on them."""
    run = desk.open()
    said = testimony.testimony(run, with_history(run, read_candles(desk.follow)[0]))
    said = {name: values[said["timestamp"] > LEARNED] for name, values in said.items()}
    return said, strategies(said, run.settings)


def value_of(columns: Columns, start: str, figure: str) -> tuple[float, int, float]:
    """Value, n and baseline of a figure in the scope that begins so."""
    rows = [i for i, scope in enumerate(columns["scope"]) if scope.startswith(start) and columns["figure"][i] == figure]
    assert len(rows) == 1
    return float(columns["value"][rows[0]]), int(columns["n"][rows[0]]), float(columns["baseline"][rows[0]])


def test_the_executor_makes_the_same_trades_and_the_same_report(trained: Desk) -> None:
    candles, orders = of_file(trained)
    run, its, stamps = trained.open(), orders[OURS], candles["timestamp"]
    costs, capital = run.settings.costs, run.settings.executor.capital
    account, trades, hours, course = Account(capital), [], {}, None
    for i, stamp in enumerate(stamps.tolist()):
        said = SIDES[int(its.side[i])], float(its.stop[i]), float(its.target[i]), float(its.size[i])
        candle = Candle(stamp, *(float(candles[name][i]) for name in PRICES))
        done = step(account, candle, Decision(stamp, *said, 1.0, "", ""), costs, run.settings.labels.horizon)
        account, equity = done.account, done.account.equity(candle.close)
        trades += done.trades
        course = (course or Course.begin(stamp, candle.close, capital, costs)).after(candle.close, equity)
        *_, count, exposed = hours.get(stamp // HOUR_MS, (0, 0, 0, 0))
        hours[stamp // HOUR_MS] = (stamp // HOUR_MS * HOUR_MS, equity, candle.close, count + 1, exposed + bool(account.coins))
    simulation = simulate(candles, its, costs, run.settings.labels.horizon, capital)
    found, found_hours, found_course = accounts(simulation, candles, costs, capital)
    assert len(trades) >= 5
    for name in ("timestamp", "exit_timestamp", "entry", "exit", "exit_reason", "quantity", "pnl", "pnl_bps", "costs", "equity"):
        assert found[name].tolist() == [getattr(trade, name) for trade in trades], name
    assert list(zip(*(values.tolist() for values in found_hours.values()), strict=True)) == list(hours.values())
    assert found_course == course
    stepped = report(found, found_hours, course, capital, costs, run.settings.learning.seed)
    measured = evaluate(candles, trade(candles, run.settings), run.settings).stats
    for figure, value in zip(stepped["figure"], stepped["value"], strict=True):
        np.testing.assert_equal(value_of(measured, "fused rule", figure)[0], float(value))


def test_a_replay_leaves_the_trades_of_the_backtest_in_its_ledger(replayed: Desk) -> None:
    logged = replayed.open().workspace.read("trade_logs")
    candles, orders = of_file(replayed)
    run = replayed.open()
    capital, horizon = run.settings.executor.capital, run.settings.labels.horizon
    simulation = simulate(candles, orders[OURS], run.settings.costs, horizon, capital)
    trades = accounts(simulation, candles, run.settings.costs, capital)[0]
    count = len(logged["timestamp"])
    assert count >= 1
    assert trades["timestamp"][:count].tolist() == logged["timestamp"].tolist()
    assert (trades["exited"][count:] >= 150).all()
    for name in ("exit_timestamp", "entry", "exit", "quantity", "pnl", "pnl_bps", "costs", "equity"):
        np.testing.assert_allclose(trades[name][:count], logged[name].astype(float), atol=1e-5, err_msg=name)
    assert trades["exit_reason"][:count].tolist() == logged["exit_reason"].tolist()


def test_the_front_door_writes_both_rules_and_what_needs_no_model(trained: Desk) -> None:
    done = trained.call("--backtest", "--candles", trained.follow)
    assert done.returncode == 0, done.stderr
    assert f"{FOLLOWING_MINUTES} of {FOLLOWING_MINUTES} candles traded" in done.stdout
    run = trained.open()
    columns = run.workspace.read("backtest_stats")
    candles, orders = of_file(trained)
    costs, horizon, capital = run.settings.costs, run.settings.labels.horizon, run.settings.executor.capital
    trades = simulate(candles, orders[OURS], costs, horizon, capital).trades
    assert value_of(columns, "fused rule", "trades")[:2] == (len(trades["pnl"]), len(trades["pnl"]))
    value, n, break_even = value_of(columns, "fused rule", "win_rate")
    wins, losses = trades["pnl"][trades["pnl"] > 0], -trades["pnl"][trades["pnl"] <= 0]
    assert (value, n) == (pytest.approx(len(wins) / len(trades["pnl"])), len(trades["pnl"]))
    assert break_even == pytest.approx(losses.mean() / (losses.mean() + wins.mean()))
    assert value_of(columns, "fused rule", "costs_paid_usd")[0] == pytest.approx(trades["costs"].sum())
    held = candles["close"][-1] / candles["close"][0] * (1 - costs.fee) / (1 + costs.fee) - 1
    own, _, to_beat = value_of(columns, "buy and hold", "total_return")
    assert own == pytest.approx(held)
    assert np.isnan(to_beat)
    assert value_of(columns, "fused rule", "total_return")[2] == pytest.approx(held)
    drawdown = (1 - candles["close"] / np.maximum.accumulate(candles["close"])).max()
    assert value_of(columns, "buy and hold", "max_drawdown")[0] == pytest.approx(drawdown, abs=costs.fee)
    for name in ("always NEUTRAL", "strict rule"):
        own = [i for i, scope in enumerate(columns["scope"]) if scope.startswith(f"{name}, ")]
        assert len(own) >= 10
        assert columns["figure"][own[0]] == "verdict: did not trade"
        assert np.isnan(columns["value"][own[1:]]).all()
        assert not columns["n"][own].any()


def test_the_same_candles_give_the_same_bytes_and_nothing_but_the_table_changes(trained: Desk) -> None:
    before, written = trained.files(), []
    for _ in range(2):
        assert tested.backtest(trained.open(trained.follow), quiet=True) == 0
        written.append(trained.files())
    assert written[0] == written[1]
    new = {f"performance/backtest_{what}.csv" for what in ("stats", "curves", "groups")}
    assert set(written[0]) - set(before) == new | {"performance/tries.csv"}
    assert {name: written[0][name] for name in before} == before


def test_from_and_to_bound_the_trading(trained: Desk) -> None:
    done = trained.call("--backtest", "--candles", trained.follow, "--from", "2024-01-07T23:00", "--to", "2024-01-07T23:59")
    assert done.returncode == 0, done.stderr
    assert "60 of 600 candles traded" in done.stdout
    columns = trained.open().workspace.read("backtest_stats")
    assert value_of(columns, "buy and hold", "exposure")[1] == 60
    assert "2024-01-08 04:30:00 to 2024-01-08 05:29:00 IST" in columns["scope"][0]


def test_what_was_learned_from_is_not_traded(trained: Desk) -> None:
    done = trained.call("--backtest", "--candles", trained.learn)
    assert done.returncode == 1
    assert done.stderr.endswith("no later than 2024-01-08 04:09:00 IST, up to where the models were fitted\n")
    assert not trained.open().workspace.exists("backtest_stats")


def test_it_needs_candles_and_knows_no_minutes(trained: Desk) -> None:
    done = trained.call("--backtest")
    assert (done.returncode, "--candles FILE" in done.stderr) == (1, True)
    assert trained.call("--backtest", "--candles", trained.follow, "--minutes", "3").returncode == 2


def test_it_needs_a_training_and_leaves_no_trace_without_one(fresh: Desk) -> None:
    done = fresh.call("--backtest", "--candles", fresh.follow)
    assert (done.returncode, "no trained models" in done.stderr) == (1, True)
    assert not fresh.workspace.exists()


def test_holding_is_one_trade_after_costs() -> None:
    costs = Costs(fee=0.001, slippage=0.0005)
    close = np.array([100.0, 90.0, 120.0])
    candles = {"open": close, "close": close, "funding": np.array([0.0, 0.01, 0.0])}
    held = hold(candles, costs, 1_000.0)
    final = 1_000 * 120 * 0.9995 * 0.999 / (100 * 1.0005 * 1.001)
    assert held.equity(np.array([100.0, 90.0, 120.0]))[-1] == pytest.approx(final)
    assert held.trades["pnl"][0] == pytest.approx(final - 1_000)
    gross = 1_000 / (100 * 1.0005 * 1.001) * 20
    assert held.trades["costs"][0] == pytest.approx(gross - held.trades["pnl"][0])
    perpetual = hold(candles, replace(costs, funding="both"), 1_000.0)
    due = 1_000 / (100 * 1.0005 * 1.001) * 90 * 0.01
    assert (held.equity(close) - perpetual.equity(close)).tolist() == pytest.approx([0, due, due])
    assert perpetual.trades["costs"][0] - held.trades["costs"][0] == pytest.approx(due)
    assert perpetual.trades["pnl"][0] == pytest.approx(perpetual.equity(close)[-1] - 1_000)
