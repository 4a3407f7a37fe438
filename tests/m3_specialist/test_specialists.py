"""Module 3: the regime's model speaks, unsure means NEUTRAL, versions are kept, and the best one serves."""

import json
import shutil

import lightgbm
import numpy as np
import pytest

from modules.conductor.training import train
from modules.core.errors import PipelineError
from modules.core.labels import BUY, SELL
from modules.core.settings import load_settings
from modules.core.trees import Trees
from modules.core.words import REGIMES
from modules.evaluation.lookahead import another_future
from modules.m3_specialist import model, trainer
from modules.m3_specialist import predictor as live
from tests.conftest import Desk


def test_unsure_means_neutral() -> None:
    rows = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.35, 0.3, 0.35], [0.0, 1.0, 0.0], [0.69, 0.01, 0.30]])
    signal, confidence = model.signals(rows, 0.7)
    assert list(signal) == ["SELL", "BUY", "NEUTRAL", "NEUTRAL", "NEUTRAL"]
    assert list(confidence) == [0.8, 0.7, 0.35, 0.0, 0.69]
    assert (SELL, BUY) == (0, 2)


def test_each_row_is_answered_by_the_model_of_its_regime(trained_once: Desk) -> None:
    run = trained_once.open()
    chunk = run.workspace.read("chunk", 0)
    features = {name: values[:40] for name, values in chunk.items()}
    regime = np.array([REGIMES[i % 8] for i in range(40)], object)
    said = {
        "whale_alert_score": np.full(40, 0.5),
        "impact_type": np.full(40, "none", object),
        "trajectory": np.zeros(40),
        "volatility": np.zeros(40),
    }
    asked: list[str] = []

    def specialist_of(name: str) -> model.Specialist:
        asked.append(name)
        return live.specialist(run, name)

    answer = model.answer(specialist_of, features, regime, said, run.settings)
    assert sorted(asked) == sorted(REGIMES)
    names = json.loads(run.artifacts.load("specialists_export"))
    assert list(answer["model_used"]) == [names[model.file_key(name)] for name in regime]
    for i in (0, 7, 13):
        row = {name: values[i : i + 1] for name, values in features.items()}
        told = {name: values[i : i + 1] for name, values in said.items()}
        alone = model.answer(specialist_of, row, regime[i : i + 1], told, run.settings)
        assert alone["p_buy"][0] == answer["p_buy"][i]


def test_the_exported_trees_are_the_pickled_ones(trained_once: Desk) -> None:
    run = trained_once.open()
    for regime in REGIMES:
        key = model.file_key(regime)
        pickled = run.artifacts.load_pickle("specialist_{k}", key)
        trees = run.artifacts.once("specialist_{k}_export", key, Trees)
        rows = np.random.default_rng(3).normal(size=(30, trees.features))
        expected = lightgbm.Booster(model_str=pickled["model"].decode()).predict(rows)
        assert np.array_equal(trees.predict(rows), expected)


def test_history_is_out_of_fold_only(trained_once: Desk) -> None:
    """Block 0 has no regimes from out of fold, block 1 trains the first specialists: both stay out."""
    run = trained_once.open()
    folds = run.workspace.read("specialist_history")["fold"]
    assert set(folds) == {*range(2, run.settings.learning.folds), 99}


def test_what_comes_later_never_changes_an_earlier_block(trained_once: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Other candles in the newest block: the out-of-fold rows of the blocks before are the same bits, and of the same kind
    of specialist."""
    desk = trained_once.copy(tmp_path_factory.mktemp("later"))
    run = desk.open()
    before = run.workspace.read("specialist_history")
    regimes = run.workspace.read("regime_assignments")
    candles = run.workspace.read("candles_history")
    last = regimes["timestamp"][np.flatnonzero(regimes["fold"] == 3)[0]]
    run.workspace.write("candles_history", another_future(candles, int(np.searchsorted(candles["timestamp"], last))))
    train(desk.open(), ["m2_regime", "m3_specialist"], quiet=True)
    after = desk.open().workspace.read("specialist_history")
    again = desk.open().workspace.read("regime_assignments")
    for old, new, names in ((before, after, ("p_sell", "p_buy")), (regimes, again, ("confidence", "warning_probability"))):
        earlier = (old["fold"] < 3) & (old["fold"] > 0)
        assert earlier.any()
        for name in names:
            assert np.array_equal(old[name][earlier], new[name][earlier]), name


def test_which_kind_of_specialist_speaks_is_chosen_on_the_block_before(trained: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regimes' own models that know everything in the newest block, and nothing before it, change no row before it."""
    run = trained.open()
    before, fold = run.workspace.read("specialist_history"), run.workspace.read("regime_assignments")["fold"]

    def prophets(_models: dict[str, bytes], rows: trainer.Rows, where: np.ndarray) -> np.ndarray:
        known = np.eye(3)[rows.label[where]] * 0.97 + 0.01
        return np.where((fold[where] == 3)[:, None], known, 1 / 3)

    monkeypatch.setattr(trainer, "_by_regime", prophets)
    train(run, ["m3_specialist"], quiet=True)
    assert set(trained.open().artifacts.load_json("specialists_export").values()) != {"pooled_v1"}
    after = trained.open().workspace.read("specialist_history")
    earlier = before["fold"] == 2
    assert earlier.any()
    assert np.array_equal(before["p_buy"][earlier], after["p_buy"][earlier])


def test_the_same_model_is_no_new_version(trained_once: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    desk = trained_once.copy(tmp_path_factory.mktemp("versions"))
    before = {name for name in desk.open().artifacts.names() if name.startswith("version_")}
    train(desk.open(), ["m3_specialist"], quiet=True)
    assert {name for name in desk.open().artifacts.names() if name.startswith("version_")} == before
    other = load_settings(desk.config, {"learning": {"seed": 8}})
    run = desk.open()
    run.settings = other
    train(run, ["m3_specialist"], quiet=True)
    after = {name for name in desk.open().artifacts.names() if name.startswith("version_")}
    assert "version_pooled_v2" in after - before
    stats = desk.open().workspace.read("specialist_stats")
    assert len(stats["regime"]) == 1 + len(REGIMES)
    shutil.rmtree(desk.root)


def test_regimes_of_other_candles_are_refused(trained_once: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = trained_once.copy(tmp_path_factory.mktemp("other")).open()
    shifted = run.workspace.read("regime_assignments")
    run.workspace.write("regime_assignments", shifted | {"timestamp": shifted["timestamp"] + 60_000})
    with pytest.raises(PipelineError, match="other candles"):
        train(run, ["m3_specialist"], quiet=True)
