"""The trainers' history: every row at its own candle, and the gaps that the settings ask for."""

from dataclasses import replace

import numpy as np
import pytest
from table_rows import START, part, plain

from modules.core import labels
from modules.core.catalog import TABLES
from modules.core.errors import PipelineError
from modules.core.history import History, input_names, inputs
from modules.core.settings import load_settings
from modules.core.tables import Workspace
from modules.core.words import MINUTE_MS

ROWS = 1_600
SETTINGS = load_settings(overrides={"labels": {"horizon": 12, "move_points": 30.0}, "learning": {"embargo": 33, "folds": 5}})


@pytest.fixture
def workspace(tmp_path):
    """Candles of a random walk; features of some of them, in two chunks."""
    tables, random = Workspace(tmp_path), np.random.default_rng(0)
    candles = plain(TABLES["candles_history"], ROWS)
    candles["close"] = 5_000 + np.cumsum(random.normal(0, 8, ROWS)).round(2)
    candles["open"] = np.roll(candles["close"], 1)
    candles["high"] = np.maximum(candles["open"], candles["close"]) + random.integers(0, 9, ROWS)
    candles["low"] = np.minimum(candles["open"], candles["close"]) - random.integers(0, 9, ROWS)
    tables.write("candles_history", candles)
    there = np.delete(np.arange(50, ROWS), [100, 101, 102, 333])  # rows too poor to keep
    features = plain(TABLES["chunk"], len(there))
    features["timestamp"], features["close"] = candles["timestamp"][there], candles["close"][there]
    features["atr"] = random.integers(5, 30, len(there)).astype(float)
    for k, (start, end) in enumerate([(0, 400), (400, len(there))]):
        tables.write("chunk", part(features, start, end), k)
    return tables


def test_rows_stand_at_their_own_candles(workspace):
    history, candles = History.load(workspace, SETTINGS), workspace.read("candles_history")
    assert len(history) == ROWS - 54
    assert np.array_equal(history.candles["timestamp"][history.position], history.timestamps)
    assert np.array_equal(history.candles["close"][history.position], history.features["close"])
    label, moved = history.first_side()
    assert {labels.SELL, labels.NEUTRAL, labels.BUY} == set(label)
    for row in (0, 99, 100, 283, 284, 400, len(history) - 14, len(history) - 1):
        at = int((history.timestamps[row] - START) // MINUTE_MS)
        ahead = slice(at + 1, at + 13)
        up = candles["high"][ahead] >= candles["close"][at] + 30
        down = candles["low"][ahead] <= candles["close"][at] - 30
        assert moved[row] == ((up | down).any() and at + 12 < ROWS)
        assert history.known[row] == (at + 13 < ROWS)


def test_an_excursion_is_its_own_candles_share_of_the_close(workspace):
    history, candles = History.load(workspace, SETTINGS), workspace.read("candles_history")
    far = history.excursion()
    for row in (0, 99, 100, 284, 400):
        at = int((history.timestamps[row] - START) // MINUTE_MS)
        ahead, close = slice(at + 1, at + 13), candles["close"][at]
        dollars = max(candles["high"][ahead].max() - close, close - candles["low"][ahead].min())
        assert far[row] == pytest.approx(np.log(dollars / close))
    assert np.isnan(far[-1])


def test_outcomes_use_the_atr_of_their_own_row(workspace):
    history = History.load(workspace, SETTINGS)
    for side in (1, -1):
        got = history.outcome(side)
        assert (np.isfinite(got) == history.known).all()
        for row in (0, 99, 100, 284, 400):
            spans = np.full(ROWS, history.features["atr"][row])
            wanted = SETTINGS.fusion.stop_atr, SETTINGS.fusion.target_atr, SETTINGS.labels.horizon
            assert got[row] == labels.barrier_outcome(history.candles, spans, side, *wanted)[history.position[row]]


def test_the_walk_is_as_the_settings_say(workspace):
    history = History.load(workspace, SETTINGS)
    assert (history.walk.folds, history.walk.purge, history.walk.embargo) == (5, 13, 33)
    assert history.training == int(len(history) * 0.8)
    assert set(history.folds) == {-1, 1, 2, 3, 4, 99}
    assert (history.folds == 99).sum() == len(history) - history.training
    for train, test in history.walk.split(history.training):
        if len(train):
            assert history.timestamps[test[0]] - history.timestamps[train[-1]] >= (13 + 33) * MINUTE_MS
    assert history.span(np.array([3, 7])) == (history.timestamps[3], history.timestamps[7])


def test_folds_too_many_for_the_rows_are_refused_in_words(workspace):
    many = replace(SETTINGS, learning=replace(SETTINGS.learning, folds=50))
    with pytest.raises(PipelineError, match=r"folds = 50 cuts 1236 training rows .* leaves 0 to learn from, and 200 are needed"):
        History.load(workspace, many)


def test_candles_that_the_chunks_were_not_made_from(workspace):
    candles = workspace.read("candles_history")
    for other in (part(candles, 0, ROWS - 1), {key: np.delete(values, 200) for key, values in candles.items()}):
        workspace.write("candles_history", other)
        with pytest.raises(PipelineError, match="is not what the chunks were made from; train module 1 again"):
            History.load(workspace, SETTINGS)


def test_no_chunks(tmp_path):
    with pytest.raises(PipelineError, match="train module 1 first"):
        History.load(Workspace(tmp_path), SETTINGS)


def test_inputs(workspace):
    features = History.load(workspace, SETTINGS).features
    names = input_names(features)
    assert {"rsi_14", "atr"} <= set(names)
    assert not {"timestamp", "close", "depth_btc"} & set(names)
    assert np.array_equal(inputs(features, ["atr", "rsi_14"]), np.stack([features["atr"], features["rsi_14"]], 1))
    with pytest.raises(PipelineError, match="lacks gone, lost: the models were trained on others"):
        inputs(features, ["atr", "gone", "lost"])
