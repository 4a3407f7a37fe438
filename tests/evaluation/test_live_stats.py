"""The figures of live rows: counted by hand on a replay whose trades are known."""

import numpy as np

from modules.core import labels
from modules.evaluation.live_stats import live_figures
from tests.conftest import Desk


def test_figures_of_a_replay_are_those_counted_by_hand(replayed: Desk) -> None:
    run = replayed.open()
    rows = {figure: (value, n) for _, figure, value, _, _, n, *_ in live_figures(run).rows}
    candles, warnings = run.workspace.read("candles_live"), run.workspace.read("early_warnings")
    final = run.workspace.read("final_signals")
    horizon, bps = run.settings.labels.horizon, run.settings.labels.move_bps
    known = len(warnings["timestamp"]) - horizon - 1
    close, high, low = (candles[name] for name in ("close", "high", "low"))
    happened = []
    for i in range(known):
        at = int(np.searchsorted(candles["timestamp"], warnings["timestamp"][i]))
        ahead, reach = slice(at + 1, at + 1 + horizon), close[at] * bps / 1e4
        happened.append(bool((high[ahead] >= close[at] + reach).any() or (low[ahead] <= close[at] - reach).any()))
    assert rows["base rate of a move"] == (np.mean(happened), known)
    brier = np.mean((warnings["probability"][:known] - happened) ** 2)
    assert np.isclose(rows["early warning Brier score"][0], brier)
    called = final["signal"][:known] != "NEUTRAL"
    assert called.any()
    assert rows["final_signals: BUY or SELL"] == (called.sum(), known)
    features = run.workspace.read("live_features")
    won = []
    for i in np.flatnonzero(called):
        at = int(np.searchsorted(candles["timestamp"], final["timestamp"][i]))
        span = {name: candles[name][at : at + horizon + 2] for name in ("open", "high", "low", "close")}
        atr = np.full(horizon + 2, features["atr"][np.searchsorted(features["timestamp"], final["timestamp"][i])])
        side = 1 if final["signal"][i] == "BUY" else -1
        fusion = run.settings.fusion
        gross = labels.barrier_outcome(span, atr, side, fusion.stop_atr, fusion.target_atr, horizon)[0]
        won.append(gross > run.settings.costs.round_trip)
    assert np.isclose(rows["final_signals: win rate after costs"][0], np.mean(won))


def test_nothing_to_measure_is_no_figure(trained: Desk) -> None:
    assert live_figures(trained.open()).rows == []


def test_minutes_that_the_models_learned_from_do_not_count(trained: Desk) -> None:
    done = trained.call("--replay", "--candles", trained.learn, "--minutes", 60)
    assert done.returncode == 0, done.stderr
    assert "IN SAMPLE: the models learned from 60 of these minutes" in done.stdout
    assert live_figures(trained.open()).rows == []
