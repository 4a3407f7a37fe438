"""The demo on a smaller market: what is planted is found, and without the libraries of module 4B it goes on."""

import re
import sys

import numpy as np
import pytest

from modules.conductor import demo
from modules.conductor.check import check
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.evaluation.batch import live_tables, with_history
from modules.evaluation.report import PATH
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.trainer import history_extras
from modules.m4b_sentiment import trainer
from tests.conftest import CONFIG

pytestmark = pytest.mark.slow
MINUTES, REPLAYED = 10_000, 90


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    """Run the demo and give its workspace and what it said."""
    monkeypatch.setattr(demo, "TRAINING_MINUTES", MINUTES)
    monkeypatch.setattr(demo, "REPLAY_MINUTES", REPLAYED)
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)

    def run():
        assert demo.demo(tmp_path / "demo", config) == 0
        return Run.open(tmp_path / "demo", load_settings(config)), capsys.readouterr().out

    return run


def told(said, label):
    """The first number after a label of the summary."""
    return float(re.search(rf"^  {label} +([\d.]+)", said, re.M)[1])


def test_whales_and_news_are_found(show, monkeypatch):
    if trainer.missing_libraries():
        pytest.skip(f"not installed: {', '.join(trainer.missing_libraries())}")
    from modules.m4b_sentiment import training

    monkeypatch.setattr(training, "HEAD_WINDOWS", 4_800)
    monkeypatch.setattr(training, "MIN_STEPS", 200)
    run, said = show()
    assert told(said, "whales, ROC-AUC") > 0.9
    assert told(said, "headlines, accuracy") > 0.9
    assert told(said, "side of alerts, unseen tail") > 0.7
    assert told(said, "sign of trajectory, unseen tail") > 0.7
    assert "side of alerts, replay" in said
    assert "sign of trajectory, replay" in said
    whales, mood = (run.workspace.read(name) for name in ("whale_alerts", "sentiment_trajectories"))
    for rows in (whales, mood):
        assert len(rows["timestamp"]) == REPLAYED
        assert set(rows["status"]) == {"ok"}
    assert len(np.unique(whales["whale_alert_score"])) > REPLAYED / 2
    assert (mood["trajectory"] != 0).mean() > 0.5
    assert run.workspace.read("news_history")["timestamp"].max() < mood["timestamp"][0]
    assert check(run) == 0
    candles = with_history(run, read_candles(run.workspace.root / "data/simulated/following.csv", 60)[0])
    batch = live_tables(run, candles, history_extras(run, candles["timestamp"]))["final_signals"]
    live = run.workspace.read("final_signals")
    assert batch["timestamp"][-REPLAYED:].tolist() == live["timestamp"].tolist()
    assert batch["reason"][-REPLAYED:].tolist() == live["reason"].tolist()
    assert (run.workspace.root / PATH).read_text().startswith("<!doctype html>")


def test_without_the_libraries_of_4b_it_says_so_in_one_line_and_goes_on(show, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    run, said = show()
    lines = [line for line in said.splitlines() if "requirements-sentiment.txt" in line]
    assert len(lines) == 1
    assert "torch not being installed" in lines[0]
    assert told(said, "whales, ROC-AUC") > 0.9
    assert "trajectory, " not in said
    assert set(run.workspace.read("sentiment_trajectories")["status"]) == {"off"}
    assert set(run.workspace.read("whale_alerts")["status"]) == {"ok"}
