"""Real posts beside real candles: the history ends where the replay begins, and only new posts cost anything."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.news_replay import POSTS, lay_out
from benchmarks.real_news import TIMELINE, columns
from modules.conductor.replay import stamp_of
from modules.core.module import Run, run_predictor
from modules.core.settings import load_settings
from modules.core.telemetry import Progress
from modules.core.words import MINUTE_MS
from modules.m1_data_engine.candle_files import read_candles
from modules.m4b_sentiment import encoder, predictor, trainer

DATA = Path(__file__).parents[3] / "shared" / "data"
CANDLES, NEWS = DATA / "market" / "BTCUSDT_1m_history.csv.gz", DATA / "news"
START, MINUTES, POSTS_LEARNED = stamp_of("2023-12-06T08:00"), 120, 900


def test_a_date_without_a_time_counts_from_the_end_of_its_day(tmp_path):
    midnight = stamp_of("2024-03-27")
    rows = [f"{midnight},x,Bitcoin fell in the evening,-1", f"{midnight + 1},x,Bitcoin rose after midnight,1", ",x,No date,0"]
    with gzip.open(tmp_path / "btc_news_timeline.csv.gz", "wt") as file:
        file.write("\n".join(["timestamp,source,text,label", *rows]) + "\n")
    stamps = columns(tmp_path, TIMELINE)["timestamp"]
    assert stamps[:2].tolist() == [stamp_of("2024-03-28"), midnight + 1]
    assert np.isnan(stamps[2])


@pytest.mark.slow
def test_real_posts_move_the_minutes_that_they_stand_in_and_only_new_ones_load_the_encoder(tmp_path, monkeypatch):
    if not CANDLES.is_file() or not NEWS.is_dir():
        pytest.skip("the shared candles and news are not beside the repository")
    if absent := trainer.missing_libraries():
        pytest.skip(f"not installed: {', '.join(absent)}")
    from modules.m4b_sentiment import training

    monkeypatch.setattr(training, "HEAD_WINDOWS", 4_800)
    monkeypatch.setattr(training, "MIN_STEPS", 60)
    small = {"data": {"rows": 4_000, "chunk_rows": 1_000}, "sentiment": {"file": POSTS, "folds": 1, "epochs": 1}}
    settings = load_settings(None, small)
    run = Run.open(tmp_path, settings)
    news = columns(NEWS, TIMELINE)
    newest = np.argsort(news["timestamp"], kind="stable")
    newest = newest[news["timestamp"][newest] < START + MINUTES * MINUTE_MS][-POSTS_LEARNED:]
    news = {name: values[newest] for name, values in news.items()}
    lay_out(run, read_candles(CANDLES)[0], stamp_of("2023-12-05"), news, START, START + MINUTES * MINUTE_MS)
    trainer.train(run, Progress(quiet=True))
    assert run.workspace.read("news_history")["timestamp"].max() < START
    assert run.workspace.read("candles_history")["timestamp"].max() < stamp_of("2023-12-05")

    loaded, real = [], encoder.PostEncoder
    monkeypatch.setattr(encoder, "PostEncoder", lambda *parts: loaded.append(stamp) or real(*parts))
    for stamp in range(START, START + MINUTES * MINUTE_MS, MINUTE_MS):
        cold = Run.open(tmp_path, settings, candles=CANDLES)
        assert run_predictor(predictor, cold, stamp).status == "ok"
    said, counts = run.workspace.read("sentiment_trajectories"), run.workspace.read("sentiment_counts")
    new, told = counts["kept"] > 0, counts["window"] > 0
    assert 0 < new.sum() < told.sum() < MINUTES
    assert loaded == counts["timestamp"][new].tolist()
    assert (said["trajectory"][told] != 0).all()
    assert (said["trajectory"][~told] == 0).all()
