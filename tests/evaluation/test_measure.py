"""The figures of an evaluation, against counting by hand and against what was planted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from modules.core import labels
from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.tables import Columns, Workspace
from modules.core.words import REGIMES
from modules.evaluation import luck
from modules.evaluation.engine import simulate
from modules.evaluation.measure import HELD, Evaluation, conclude, evaluate, trade
from modules.evaluation.report import verdict
from modules.evaluation.report_page.numbers import figures_of
from modules.evaluation.strategies import BREAKOUT, NOTHING, OURS, RANDOM, STRICT, strategies
from modules.evaluation.tries import Tried, tried
from modules.m6_executor.funding import EVERY_MS, funding_due
from modules.m6_executor.reports import UNFUNDED
from tests.evaluation.sayings import START, sayings

SETTINGS = load_settings()
BUSY = f"{RANDOM} as often as the fused rule"


def figure(found: Evaluation, scope: str, name: str) -> dict[str, float]:
    stats = found.stats
    at = [i for i, it in enumerate(stats["scope"]) if it.startswith(f"{scope}, ") and stats["figure"][i] == name]
    assert len(at) == 1, (scope, name)
    return {key: stats[key][at[0]] for key in ("value", "low", "high", "n", "baseline")}


def measured(said: Columns) -> Evaluation:
    return evaluate(said, trade(said, SETTINGS), SETTINGS)


def clairvoyant(said: Columns, every: int = 30) -> Columns:
    """Ours buys or sells now and then where the next quarter of an hour goes that way, by more than the costs."""
    horizon = SETTINGS.labels.horizon
    later = np.concatenate([said["close"][horizon:], np.full(horizon, said["close"][-1])]) / said["close"] - 1
    far = np.abs(later) > 60e-4
    side = np.where(later > 0, "BUY", "SELL").astype(object)
    said["fused"] = np.where(far & (np.arange(len(far)) % every == 0), side, "NEUTRAL").astype(object)
    return said


def test_the_tables_are_what_the_catalog_says(tmp_path: Path) -> None:
    found, workspace = measured(clairvoyant(sayings(volatility=2e-3))), Workspace(tmp_path)
    for what, columns in (("stats", found.stats), ("curves", found.curves), ("groups", found.groups)):
        workspace.write(f"backtest_{what}", columns)
        assert len(next(iter(workspace.read(f"backtest_{what}").values()))) > 0


def test_what_never_trades_has_no_figure_but_stays_in_the_table() -> None:
    found = measured(sayings())
    assert figure(found, OURS, "trades")["n"] == 0
    assert np.isnan(figure(found, OURS, "win_rate")["value"])
    assert figure(found, "hoped for", "win_rate")["n"] == 0
    assert figure(found, "hoped for", "win_rate")["baseline"] == 0.85
    assert figure(found, HELD, "trades")["n"] == 1


def test_the_verdict_says_what_was_planted_and_the_log_of_tries_makes_it_harder(tmp_path: Path) -> None:
    said = clairvoyant(sayings(40, volatility=2e-3))
    traded = trade(said, SETTINGS)

    def told(count: int) -> str:
        found = evaluate(said, traded, SETTINGS, Tried(count, np.nan))
        return next(name for name in found.stats["figure"] if name.startswith("verdict"))

    assert told(1) == "verdict: has an edge after costs"
    run = Run.open(tmp_path, SETTINGS)
    for _ in range(2):
        lines = conclude(run, said, "backtest")
    assert lines[0].startswith("fused rule, ")
    assert ": has an edge after costs. Mean net " in lines[0]
    log, stats = run.workspace.read("tries"), run.workspace.read("backtest_stats")
    count = stats["value"][stats["figure"] == "strategies tried so far"][0]
    assert count == tried(run.workspace).count > len(log["key"])
    yardsticks = (HELD, NOTHING, BUSY, BREAKOUT)
    assert sorted(log["strategy"]) == sorted(set(traded) - set(yardsticks))
    for name in (*yardsticks, OURS):
        its = [row for row, scope in enumerate(stats["scope"]) if scope.startswith(f"{name}, ")]
        after = [words for words in stats["baseline_is"][its] if words.startswith("asked for, after")]
        asked = f"asked for, after {count:.0f} tries" if name == OURS else "asked for, after 1 try"
        assert after == [asked] * (traded[name].count > 0)
    random = [line for line in lines if line.startswith(BUSY)]
    assert len(random) == 1
    assert ": loses. " in random[0]


def test_what_the_tries_the_days_and_the_halves_tell_stands_in_the_stats() -> None:
    said = clairvoyant(sayings(40, volatility=2e-3))
    traded, name = trade(said, SETTINGS), "deflated_sharpe_by_the_spread_of_the_tries"
    found, moments = evaluate(said, traded, SETTINGS, Tried(30, 0.04)), luck.moments(traded[OURS].returns)
    assert figure(found, OURS, name)["value"] == luck.deflated_sharpe(moments, 30, 0.04)
    needed = figure(found, OURS, "track_record_needed_days")
    assert (needed["value"], needed["n"], needed["baseline"]) == (pytest.approx(luck.track_record(moments)), 40, 40)
    losing = {row for scope, row in zip(found.stats["scope"], found.stats["figure"], strict=True) if scope.startswith(BUSY)}
    assert not {name, "track_record_needed_days"} & losing  # a yardstick, and below zero however long it lasts
    returns = np.stack([its.returns for who, its in traded.items() if its.count and who != HELD], 1)
    kept = figure(found, "all strategies", "what its Sharpe ratio keeps in the other half, slope over the splits")
    assert kept["value"] == luck.overfitting(returns).slope


def test_random_is_as_busy_as_ours_when_ours_says_the_same_for_a_while() -> None:
    said = sayings(20, volatility=1e-3)
    said["fused"][np.arange(len(said["close"])) % 300 < 60] = "BUY"
    traded = trade(said, SETTINGS)
    assert traded[BUSY].outcomes.side.tolist() == traded[OURS].outcomes.side.tolist()
    assert traded[OURS].count > 300


def test_too_few_candles_are_told_in_words_and_are_no_try(tmp_path: Path) -> None:
    said, run = sayings(1), Run.open(tmp_path, SETTINGS)
    least = SETTINGS.labels.horizon + 2
    with pytest.raises(PipelineError, match=f"^{least - 1} candles from 2024-01-01 05:30:00 IST on are too few .* {least} in a"):
        conclude(run, {name: values[: least - 1] for name, values in said.items()}, "backtest")
    assert not run.workspace.exists("tries")
    conclude(run, {name: values[:least] for name, values in said.items()}, "backtest")
    assert run.workspace.exists("backtest_stats")


def test_what_is_hoped_for_stands_beside_what_ours_did() -> None:
    found = measured(clairvoyant(sayings(volatility=2e-3)))
    for name in ("win_rate", "profit_factor", "max_drawdown"):
        ours, hoped = figure(found, OURS, name), figure(found, "hoped for", name)
        assert (hoped["value"], hoped["n"]) == (ours["value"], ours["n"])
        assert np.isfinite(hoped["value"])


def test_the_rule_that_is_set_is_the_one_that_is_judged(tmp_path: Path) -> None:
    settings, said = load_settings(overrides={"fusion": {"rule": "strict"}}), clairvoyant(sayings(volatility=2e-3))
    said["strict"][::50] = "BUY"
    run = Run.open(tmp_path, settings)
    lines = conclude(run, said, "backtest")
    assert lines[0].startswith("strict rule, ")
    found = evaluate(said, trade(said, settings), settings)
    for name in ("win_rate", "max_drawdown"):
        strict, fused, hoped = (figure(found, scope, name)["value"] for scope in (STRICT, OURS, "hoped for"))
        assert hoped == strict != fused
    count = figure(found, STRICT, "trades")["n"]
    assert count == figure(found, f"{RANDOM} as often as the strict rule", "trades")["n"] > 50
    assert verdict(figures_of(run.workspace.read("backtest_stats"))).line.startswith("The strict rule loses. Mean net")


def test_groups_add_up_to_the_strategy() -> None:
    said = clairvoyant(sayings(volatility=2e-3), every=7)
    found = measured(said)
    run = simulate(said, strategies(said, SETTINGS)[OURS], SETTINGS.costs, SETTINGS.labels.horizon, SETTINGS.executor.capital)
    groups = found.groups
    regimes = (groups["strategy"] == OURS) & (groups["by"] == "regime")
    told = dict(zip(groups["group"][regimes], groups["trades"][regimes], strict=True))
    assert told == Counter(said["regime"][run.trades["decided"]])
    for by in ("regime", "session", "month", "hour"):
        part = (groups["strategy"] == OURS) & (groups["by"] == by)
        assert groups["trades"][part].sum() == len(run.trades["pnl"]) > 20
        assert groups["pnl"][part].sum() == pytest.approx(run.trades["pnl"].sum())
        wins = groups["win_rate"][part] * groups["trades"][part]
        assert wins.sum() == pytest.approx((run.trades["pnl"] > 0).sum())


def test_turnover_and_break_even_fee_have_intervals_that_hold_what_days_differ_in() -> None:
    said = clairvoyant(sayings(20, volatility=2e-3))
    traded = trade(said, SETTINGS)[OURS]
    found, trades = measured(said), traded.simulation.trades
    notional = trades["quantity"] * (trades["entry"] + trades["exit"])
    turnover, fee = (figure(found, OURS, name) for name in ("turnover_a_day", "break_even_fee"))
    assert turnover["value"] == pytest.approx(notional.sum() / traded.equity.mean() / 20)
    assert fee["value"] > fee["baseline"]  # it knows the future
    for its in (turnover, fee):
        assert its["n"] == traded.count
        assert 0 < its["low"] < its["value"] < its["high"] < 2 * its["value"]
    assert figure(found, HELD, "turnover_a_day")["low"] == 0
    short = measured({name: values[:1_440] for name, values in said.items()})
    assert np.isnan(figure(short, OURS, "break_even_fee")["low"])


def test_every_strategy_that_traded_is_told_by_its_groups_and_by_monte_carlo() -> None:
    said = clairvoyant(sayings(volatility=2e-3))
    said["warning"][::40] = "up"
    traded, found = trade(said, SETTINGS), measured(said)
    busy = [name for name, its in traded.items() if its.count]
    assert {OURS, BUSY, "ATR breakout", "early warnings alone", "regimes alone", HELD} <= set(busy)
    assert list(dict.fromkeys(found.groups["strategy"])) == busy
    monte = np.array([plot.startswith("Monte Carlo") for plot in found.curves["plot"]])
    assert list(dict.fromkeys(found.curves["curve"][monte])) == [name for name in busy if traded[name].count > 1]


def test_all_costs_that_are_set_are_charged() -> None:
    said = clairvoyant(sayings(volatility=2e-3), every=7)
    costs = {"maker_fee": 0.0, "impact": 1e-4, "volume_share": 0.5, "latency": 1, "funding": "both", "funding_rate": 0.01}
    wanted = load_settings(overrides={"costs": costs, "executor": {"against": "reverse"}})
    table = {"timestamp": said["timestamp"][:1] // EVERY_MS * EVERY_MS + EVERY_MS, "funding_rate": np.array([-0.01])}
    due = funding_due(said["timestamp"], None, wanted.costs, table)
    assert set(due) == {0, 0.01, -0.01}
    orders, horizon, capital = strategies(said, wanted)[OURS], wanted.labels.horizon, wanted.executor.capital
    trades = simulate(said | {"funding": due}, orders, wanted.costs, horizon, capital, reverse=True).trades
    assert "reversal" in trades["exit_reason"]
    assert trades["funding"].any()
    paid = figure(evaluate(said, trade(said, wanted, table), wanted), OURS, "costs_paid_usd")
    assert (paid["n"], paid["value"]) == (len(trades["pnl"]), pytest.approx(trades["costs"].sum()))
    assert figure(measured(said), OURS, "costs_paid_usd")["value"] != pytest.approx(paid["value"])


def test_buying_and_holding_pays_its_funding_wherever_it_must_be_beaten() -> None:
    said = clairvoyant(sayings(4, volatility=2e-3), every=7)
    wanted = load_settings(overrides={"costs": {"funding": "both", "funding_rate": 0.01}})
    found, free = evaluate(said, trade(said, wanted), wanted), measured(said)
    for name in ("total_return", "max_drawdown", "sharpe_of_hourly_returns_annualised"):
        held, ours, unfunded = figure(found, HELD, name), figure(found, OURS, name), figure(free, OURS, name)
        assert ours["baseline"] == held["value"]
        assert abs(ours["baseline"] - unfunded["baseline"]) > 0.02
        assert np.isnan(held["baseline"])
    assert not (found.stats["baseline_is"] == UNFUNDED).any()


def test_warnings_regimes_and_calibration_are_counted_on_the_minutes_whose_future_is_known() -> None:
    said = sayings(volatility=1e-3)
    distance = np.full(len(said["close"]), SETTINGS.labels.move_points)
    label, moved = labels.first_side(said["high"], said["low"], said["close"], distance, SETTINGS.labels.horizon)
    row = np.arange(len(label) - SETTINGS.labels.horizon - 1)
    said["warning"][::3] = "move"
    said["warning_probability"][:] = 0.25
    said["regime"][:] = "STABLE_LOW"
    found = measured(said)
    precision = figure(found, "early warning", "early warning precision")
    assert precision["n"] == len(row[::3])
    assert precision["value"] == pytest.approx(moved[row[::3]].mean())
    assert precision["baseline"] == pytest.approx(moved[row].mean())
    loudest = row[np.argsort(-said["atr"][row], kind="stable")[: len(row[::3])]]
    for scope in ("early warning", "early warning in 2024-01 IST"):
        against = figure(found, scope, "early warning precision, against the ATR")
        assert (against["value"], against["baseline"]) == (precision["value"], pytest.approx(moved[loudest].mean()))
    recall = figure(found, "early warning", "early warning recall")
    assert recall["baseline"] == pytest.approx(moved[loudest].sum() / moved[row].sum())
    brier = figure(found, "calibration", "early warning: a move comes: Brier score")
    assert brier["value"] == pytest.approx(((0.25 - moved[row]) ** 2).mean())
    paid = {
        side: labels.barrier_outcome(said, said["atr"], sign, 2.0, 3.0, SETTINGS.labels.horizon)[row] - 0.003
        for side, sign in (("BUY", 1), ("SELL", -1))
    }
    profit = figure(found, "calibration", "fusion: a SELL ends in profit after costs: Brier score")
    assert profit["value"] == pytest.approx(((said["profit_sell"][row] - (paid["SELL"] > 0)) ** 2).mean())
    curves = found.curves
    every = (curves["plot"] == "selectivity: expectancy") & (curves["x"] == 100)
    promised = np.where(said["promised"][row] == "BUY", paid["BUY"], paid["SELL"])
    assert curves["y"][every] == pytest.approx(np.full(2, 1e4 * promised.mean()))
    accuracy = figure(found, "regime", "regime accuracy")
    assert accuracy["value"] == pytest.approx((said["hindsight"] == "STABLE_LOW").mean())
    buys = figure(found, "calibration", "specialists: the upper side comes first: Brier score")
    assert buys["value"] == pytest.approx(((said["p_buy"][row] - (label[row] == labels.BUY)) ** 2).mean())


def test_the_probability_of_each_regime_to_come_is_held_to_its_word() -> None:
    said, horizon = sayings(), SETTINGS.labels.horizon
    found = measured(said)
    count = len(said["close"]) - horizon - 1
    later = said["hindsight"][horizon : horizon + count]
    for name in REGIMES:
        about = f"regime {horizon} minutes ahead: {name} comes"
        brier, came = figure(found, "calibration", f"{about}: Brier score"), later == name
        assert brier["n"] == count
        assert brier["value"] == pytest.approx(((said[f"next_{name.lower()}"][:count] - came) ** 2).mean())
        assert brier["baseline"] == pytest.approx(came.mean() * (1 - came.mean()))
        curve = found.curves["plot"] == f"calibration: {about}"
        assert found.curves["n"][curve].sum() == count
        assert found.curves["y"][curve] @ found.curves["n"][curve] == pytest.approx(came.sum())


def test_a_hole_between_candles_is_judged_by_nobody() -> None:
    said = sayings(2)
    whole = figure(measured(said), "early warning", "base rate of a move")["n"]
    torn = {name: np.delete(values, np.arange(1_000, 1_010)) for name, values in said.items()}
    assert figure(measured(torn), "early warning", "base rate of a move")["n"] == whole - 10 - 16


def test_curves_over_time_begin_and_end_where_the_candles_do() -> None:
    found = measured(sayings(20)).curves
    part = (found["plot"] == "equity") & (found["curve"] == HELD)
    assert part.sum() == 20
    assert found["x"][part][[0, -1]].tolist() == [START + 60_000 * 1_439, START + 60_000 * (20 * 1_440 - 1)]
    assert (found["y"][(found["plot"] == "equity") & (found["curve"] == OURS)] == SETTINGS.executor.capital).all()
    assert (found["y"][found["plot"] == "drawdown"] <= 0).all()
