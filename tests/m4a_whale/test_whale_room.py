"""The room on a small market with planted whales: the laws that its rows hold, and what it finds."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from modules.core.module import Run, run_predictor
from modules.core.telemetry import Progress
from modules.core.words import MINUTE_MS
from modules.m4a_whale import predictor, trainer, transactions
from tests.m4a_whale.chain import NOON, market_on_disk, name_of, run_in, transfers_of

MINUTES = 24_000
WRITTEN = ("processed/whale_history.csv", "performance/whale_stats.csv", "models/whale_model.pkl", "models/whale.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run, market = market_on_disk(tmp_path_factory.mktemp("whale"), MINUTES, seed=5)
    trainer.train(run, Progress(quiet=True))
    return run, market


@pytest.fixture
def replay(trained, tmp_path):
    """A copy that is replayed: the run has a candle file, so the record is the source."""
    folder = tmp_path / "copy"
    shutil.copytree(trained[0].workspace.root, folder)
    return Run.open(folder, trained[0].settings, candles=folder / "candles.csv")


def figure(run, scope, name):
    rows = run.workspace.read("whale_stats")
    at = [i for i, told in enumerate(rows["figure"]) if told == name and rows["scope"][i].startswith(scope)]
    return {key: values[at[0]] for key, values in rows.items()}


def test_training_twice_writes_the_same_bytes(trained, tmp_path):
    again, _ = market_on_disk(tmp_path, MINUTES, seed=5)
    trainer.train(again, Progress(quiet=True))
    for path in WRITTEN:
        assert (tmp_path / path).read_bytes() == (trained[0].workspace.root / path).read_bytes(), path


def test_what_comes_later_changes_no_row(trained, tmp_path):
    run, market = market_on_disk(tmp_path, MINUTES, seed=5)
    rows = transfers_of(market)
    cut = int(market.candles["timestamp"][16_000])
    later = rows["timestamp"] >= cut
    rows["value_btc"] = np.where(later, 20_000.0, rows["value_btc"])
    rows["to_exchange"] = np.where(later, 1 - rows["to_exchange"], rows["to_exchange"])
    keep = ~later | (np.arange(len(later)) % 3 > 0)
    run.workspace.write("historical_transactions", {name: values[keep] for name, values in rows.items()})
    candles = {name: values.copy() for name, values in market.candles.items()}
    for name in ("open", "high", "low", "close"):
        candles[name][16_000:] *= 1.5
    run.workspace.write("candles_history", candles)
    trainer.train(run, Progress(quiet=True))
    before, after = (r.workspace.read("whale_history") for r in (trained[0], run))
    assert (before["timestamp"] <= cut).sum() > 5_000
    for name in before:
        assert before[name][before["timestamp"] <= cut].tolist() == after[name][after["timestamp"] <= cut].tolist()
    assert before["whale_alert_score"].tolist() != after["whale_alert_score"].tolist()


def test_the_live_row_is_the_histories_row(replay):
    history = replay.workspace.read("whale_history")
    for i in range(len(history["timestamp"]) - 3_000, len(history["timestamp"]), 97):
        stamp = int(history["timestamp"][i])
        row = predictor.predict(replay, stamp)["whale_alerts"]
        assert row["status"][0] == "ok"
        assert round(float(row["whale_alert_score"][0]), 10) == history["whale_alert_score"][i]
        assert row["impact_type"][0] == history["impact_type"][i]


def test_the_history_is_out_of_fold_and_begins_with_the_second_block(trained):
    run, market = trained
    history = run.workspace.read("whale_history")
    training = int(MINUTES * 0.8)
    first = market.candles["timestamp"][training // 4]
    assert history["timestamp"][0] == first
    assert (np.diff(history["timestamp"]) == MINUTE_MS).all()
    assert history["timestamp"][-1] == market.candles["timestamp"][-1]
    entry = run.artifacts.entry("whale_export")
    assert entry["fitted_to"] == market.candles["timestamp"][training - 1]


def test_a_cycle_again_leaves_the_same_bytes(replay):
    stamp = int(replay.workspace.newest("candles_history"))
    for minute in (stamp - MINUTE_MS, stamp):
        run_predictor(predictor, replay, minute)
    first = replay.workspace.path("whale_alerts").read_bytes()
    again = Run.open(replay.workspace.root, replay.settings, candles=replay.candles)
    assert run_predictor(predictor, again, stamp).status == "ok"
    assert replay.workspace.path("whale_alerts").read_bytes() == first


def test_the_planted_whales_are_found_on_unseen_rows(trained):
    run, market = trained
    found = figure(run, "planted whales", "cblof: ROC-AUC")
    assert found["value"] > 0.94
    assert found["low"] > 0.9
    assert found["n"] > 50
    assert found["baseline_is"] == "value alone"
    for name in ("iforest: ROC-AUC", "knn: ROC-AUC", "cblof: precision", "cblof: recall", "value alone: ROC-AUC"):
        assert 0 <= figure(run, "planted whales", name)["value"] <= 1
    history = run.workspace.read("whale_history")
    pushed = market.truth["whale_impact"][np.searchsorted(market.truth["timestamp"], history["timestamp"])]
    side = (history["impact_type"] == "buy_pressure") * 1 - (history["impact_type"] == "sell_pressure") * 1
    loud = (history["whale_alert_score"] > 0.9) & (side != 0)
    assert loud.sum() > 200
    assert (np.sign(pushed) == side)[loud].mean() > 3 * (np.sign(pushed) == -side)[loud].mean()


def test_labelled_transactions_are_measured_in_folds(tmp_path):
    run, market = market_on_disk(tmp_path, 8_000, seed=6)
    rows = transfers_of(market)
    rows["label"] = rows.pop("planted")
    run.workspace.write("labelled_transactions", rows)
    trainer.train(run, Progress(quiet=True))
    assert figure(run, "labelled_transactions", "cblof: ROC-AUC")["n"] == len(rows["label"])


def test_without_transactions_the_room_is_off_and_leaves_nothing_old(replay):
    replay.workspace.path("historical_transactions").unlink()
    said = trainer.train(replay, Progress(quiet=True))
    assert "off" in said[0]
    assert not replay.workspace.exists("whale_history")
    assert not replay.workspace.exists("whale_stats")
    assert "whale_export" not in replay.artifacts.names()
    stamp = int(replay.workspace.newest("candles_history"))
    assert run_predictor(predictor, replay, stamp).status == "off"


def test_no_source_is_off_and_asks_nobody(tmp_path):
    run = run_in(tmp_path)
    assert run_predictor(predictor, run, NOON).status == "off"
    row = run.workspace.read("whale_alerts")
    assert (row["whale_alert_score"][0], row["impact_type"][0]) == (0.5, "none")
    assert not run.workspace.exists("live_transactions")


def test_a_silent_chain_is_a_fallback(replay):
    rows = replay.workspace.read("historical_transactions")
    early = rows["timestamp"] < rows["timestamp"][0] + 1_000 * MINUTE_MS
    replay.workspace.write("historical_transactions", {name: values[early] for name, values in rows.items()})
    outcome = run_predictor(predictor, replay, int(replay.workspace.newest("candles_history")))
    assert outcome.status == "fallback: no large transaction was seen for 24 hours"
    row = replay.workspace.read("whale_alerts")
    assert (row["whale_alert_score"][0], row["impact_type"][0]) == (0.5, "none")


def test_a_file_as_source_gives_the_rows_of_the_record(replay, tmp_path):
    """Live from a file that grows, minute by minute: the same rows as the history of the same transactions."""
    history = replay.workspace.read("whale_history")
    stamps = history["timestamp"][-80:]
    whole = replay.workspace.path("historical_transactions").read_text().splitlines()
    growing = tmp_path / "growing.csv"
    live = run_in(replay.workspace.root, source="file", file=str(growing))
    shown = 0
    for stamp in stamps.tolist():
        while shown < len(whole) and (not shown or int(whole[shown].split(",")[0]) < stamp + MINUTE_MS):
            shown += 1
        growing.write_text("\n".join(whole[:shown]) + "\n")
        assert run_predictor(predictor, live, stamp).status == "ok"
    rows = live.workspace.read("whale_alerts")
    assert rows["timestamp"].tolist() == stamps.tolist()
    assert rows["impact_type"].tolist() == history["impact_type"][-80:].tolist()
    assert np.abs(rows["whale_alert_score"] - history["whale_alert_score"][-80:]).max() < 1e-9


def test_a_live_cycle_starts_cold_in_time_and_loads_no_training_library(replay, tmp_path):
    stamp = int(replay.workspace.newest("candles_history"))
    candles = {name: values[-1:] for name, values in replay.workspace.read("candles_history").items()}
    replay.workspace.append("candles_live", candles | {"status": np.array(["ok"], object)})
    config = tmp_path / "live.toml"
    config.write_text(f'[whale]\nsource = "file"\nfile = "{replay.workspace.path("historical_transactions")}"\n')
    code = (
        "import sys; from modules.m4a_whale import predictor; from modules.core.module import *; "
        "from pathlib import Path; import json; "
        f"run = Run.open(Path({str(replay.workspace.root)!r}), load_settings(Path({str(config)!r}))); "
        f"print(run_predictor(predictor, run, {stamp}).status); print(json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    spans, told = [], ""
    for _ in range(3):
        for name in ("whale_alerts", "live_transactions", "chain_read"):
            replay.workspace.path(name).unlink(missing_ok=True)
        started = time.perf_counter()
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
        spans.append(time.perf_counter() - started)
    status, modules = told.splitlines()
    assert status == "ok"
    heavy = {"sklearn", "pyod", "scipy", "torch", "pandas", "numba", "lightgbm", "requests"}
    assert not heavy & {name.split(".")[0] for name in json.loads(modules)}
    assert min(spans) < 0.6, spans


def test_history_and_live_rows_together_count_each_transaction_once(tmp_path):
    run = run_in(tmp_path)
    shared = {
        "value_btc": np.array([500.0, 600.0]),
        **{name: np.array([1.0, 1.0]) for name in ("inputs", "outputs", "largest_output_share", "fee_rate")},
        **{name: np.array([0, 0]) for name in ("to_exchange", "from_exchange")},
    }
    old = {"timestamp": np.array([NOON, NOON + 1]), "txid": np.array([name_of(1), name_of(2)], object)}
    run.workspace.write("historical_transactions", {**old, **shared, "planted": np.array([1, 0])})
    new = {"timestamp": np.array([NOON + 5, NOON + 9]), "txid": np.array([name_of(2), name_of(3)], object)}
    more = {"mined": new["timestamp"], "height": np.array([5, 5]), "gone": np.array([np.nan, np.nan])}
    status = {"status": np.array(["ok", "ok"], object)}
    run.workspace.append("live_transactions", {**new, **shared, **more, **status})
    rows = transactions.recorded(run.workspace, 100)
    assert rows["timestamp"].tolist() == [NOON, NOON + 1, NOON + 9]
    assert np.isnan(rows["planted"]).tolist() == [False, False, True]
    assert len(transactions.recorded(run.workspace, 550)["timestamp"]) == 2
