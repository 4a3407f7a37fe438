"""What must not be learned from is not: other values there leave every model that serves the same, to the byte."""

import numpy as np
import pytest

from modules.conductor.training import train
from modules.core.module import Run
from modules.core.splits import IN_SAMPLE, OUT_OF_SAMPLE
from modules.m1_data_engine import model, predictor
from modules.m1_data_engine.features.market import Market
from tests.conftest import Desk


def models(run: Run) -> dict[str, str]:
    """The hash of each model but the newest scaler, which is fitted on the newest chunk by law 3."""
    newest = max(int(name.split("_")[1]) for name in run.artifacts.names() if name.startswith("scaler_"))
    own = {f"scaler_{newest}", f"scaler_{newest}_export"}
    return {name: run.artifacts.entry(name)["sha256"] for name in run.artifacts.names() if name not in own}


def test_the_out_of_sample_tail_changes_no_model_and_no_choice(trained: Desk, fresh: Desk) -> None:
    before = trained.open()
    assigned = before.workspace.read("regime_assignments")
    tail = assigned["timestamp"][assigned["fold"] == OUT_OF_SAMPLE][0]
    candles = before.workspace.read("candles_history")
    later = candles["timestamp"] >= tail
    wild = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, later.sum())))
    for name in ("open", "high", "low", "close"):
        candles[name] = candles[name].copy()
        candles[name][later] *= wild
    desk = fresh.copy(fresh.root.parent / "other")
    after = desk.open()
    after.workspace.write("candles_history", candles)
    train(after, quiet=True)
    assert models(desk.open()) == models(before)
    old, new = (run.workspace.read("feature_ranking") for run in (before, desk.open()))
    assert list(old["feature"]) == list(new["feature"])
    assert np.array_equal(old["mutual_info"], new["mutual_info"])


def test_regimes_of_the_first_block_are_in_sample_and_nothing_learns_from_them(trained: Desk) -> None:
    run = trained.open()
    before, history = models(run), run.workspace.read("specialist_history")
    assigned = run.workspace.read("regime_assignments")
    first = assigned["fold"] == IN_SAMPLE
    assert first.any()
    assigned["regime"] = np.where(first, "STABLE_LOW", assigned["regime"]).astype(object)
    for name in ("confidence", "warning_probability"):
        assigned[name] = np.where(first, 0.123, assigned[name])
    run.workspace.write("regime_assignments", assigned)
    train(run, ["m3_specialist", "m5_meta_fusion"], quiet=True)
    assert models(trained.open()) == before
    again = trained.open().workspace.read("specialist_history")
    assert np.array_equal(again["p_buy"], history["p_buy"])


def test_each_chunk_is_scaled_by_the_scaler_before_it_and_live_rows_by_the_newest(trained_once: Desk) -> None:
    run = trained_once.open()
    candles = run.workspace.read("candles_history")
    names = run.artifacts.entry("scaler_{k}_export", 0)["features"]
    raw = model.features(Market(candles), names)
    k = 0
    while run.workspace.exists("chunk", k):
        content = run.artifacts.load_json("scaler_{k}_export", max(0, k - 1))
        scaler = model.Scaler(np.array(content["low"]), np.array(content["high"]))
        chunk = run.workspace.read("chunk", k)
        at = np.searchsorted(candles["timestamp"], chunk["timestamp"])
        np.testing.assert_allclose(np.stack([chunk[name] for name in names], 1), scaler.scale(raw[at]), atol=1e-9)
        k += 1
    assert k >= 3
    newest = run.artifacts.load_json("scaler_{k}_export", k - 1)
    assert predictor.scaling(run)[1].low == pytest.approx(np.array(newest["low"]))
    assert list(newest["low"]) != list(run.artifacts.load_json("scaler_{k}_export", 0)["low"])
