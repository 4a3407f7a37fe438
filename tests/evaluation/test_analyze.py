"""Every cheat is named, by the check that is made for it, and the honest pipeline passes: on the simulated market, and on
real candles."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modules.conductor.training import train
from modules.core.errors import NotTrainedError, PipelineError
from modules.core.module import Run
from modules.evaluation.analyze import CHEATS, CHECKS, analyze
from modules.evaluation.findings import PASS
from modules.evaluation.leakage import LEAKAGE, SHIFT, area, area_error
from modules.evaluation.lookahead import LOOK_AHEAD, WARM_UP
from modules.evaluation.parity import PARITY
from modules.evaluation.refit import FITTED, FOLDS, SCALERS, SERVED, TAIL
from modules.m1_data_engine.features import registry
from tests.conftest import CONFIG, TRAINING_MINUTES, Desk, write_candles
from tests.evaluation import cheats
from tests.m1_data_engine.market import real_candles

OWN = CONFIG.replace("[data]\n", f'[data]\nown_features = "{cheats.FILE}"\n')


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing waits for the disk, and no features of one's own are left behind."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield
    registry.use_own(())


@pytest.fixture(scope="session")
def real_once(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A workspace trained on real candles, the oldest of the newest 200,000 of the history."""
    candles = real_candles(TRAINING_MINUTES, skip=337_120)
    desk = Desk(tmp_path_factory.mktemp("real"))
    desk.config.write_text(CONFIG)
    write_candles(desk.learn, candles)
    done = desk.call("--train", "--candles", desk.learn)
    assert done.returncode == 0, done.stderr
    return desk


@pytest.fixture
def real(tmp_path: Path, real_once: Desk) -> Desk:
    """A workspace of one's own, trained on real candles."""
    return real_once.copy(tmp_path / "desk")


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.slow)])
def taught(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    """A trained workspace of one's own, on either kind of candles."""
    once = {"simulated": "trained_once", "real": "real_once"}[request.param]
    return request.getfixturevalue(once).copy(tmp_path / "desk")


def faults(run: Run, *only: str) -> dict[tuple[str, str], float]:
    """(check, subject) -> value of each finding that fails; the exit code says the same."""
    code = analyze(run, quiet=True, only=only)
    rows = run.workspace.read("analysis_stats")
    found = {
        (str(check), str(subject)): float(value)
        for check, subject, verdict, value in zip(*(rows[name] for name in ("check", "subject", "verdict", "value")), strict=True)
        if verdict == "fail"
    }
    assert code == (CHEATS if found else 0)
    return found


def test_own_features_that_cheat_are_named_and_the_honest_one_is_not(taught: Desk) -> None:
    taught.config.write_text(OWN)
    found = faults(taught.open(), LOOK_AHEAD, WARM_UP, LEAKAGE)
    assert {subject for _, subject in found} == {feature.name for feature in cheats.FEATURES} - {"honest_distance"}
    assert found[LOOK_AHEAD, "centred_window"] == found[LOOK_AHEAD, "future_shift"] == cheats.AHEAD
    assert found[LOOK_AHEAD, "label_itself"] == 15
    assert found[LOOK_AHEAD, "whole_sample_scaler"] > 1_000
    assert (LOOK_AHEAD, "endless_average") not in found
    assert found[WARM_UP, "endless_average"] > 1e-3
    assert (LEAKAGE, "label_itself") in found
    assert (SHIFT, "future_shift") in found


def test_a_table_that_knows_the_future_is_named(taught: Desk) -> None:
    run = taught.open()
    cheats.prophetic_table(run)
    found = faults(run, LEAKAGE)
    assert (SHIFT, "eth_return_1") in found
    assert all(subject.startswith(("eth_", "coins_")) for _, subject in found)


def test_a_smoothed_regime_is_named(taught: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cheats.smoothed_regime(monkeypatch)
    found = faults(taught.open(), LOOK_AHEAD, SERVED)
    assert (LOOK_AHEAD, "current_regime.confidence") in found
    assert (LOOK_AHEAD, "next_regime_probs.next_trend_up") in found
    assert not any(subject in found for subject in registry.FAMILIES["price"])
    assert (SERVED, "regime_assignments.confidence") in found


def test_a_forming_candle_is_named(taught: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cheats.forming_candle(monkeypatch)
    found = faults(taught.open(), PARITY)
    assert (PARITY, "live_features.close") in found
    assert (PARITY, "final_signals.expected_bps") in found


def test_a_scaler_of_the_whole_history_is_named(taught: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cheats.whole_history_scaler(monkeypatch)
    train(taught.open(taught.learn), ["m1_data_engine"], quiet=True)
    found = faults(taught.open(), SCALERS)
    assert (SCALERS, "scaler_0") in found
    assert all(check == SCALERS for check, _ in found)


@pytest.mark.slow
def test_an_in_fold_stack_is_named(taught: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cheats.in_fold_stack(monkeypatch)
    found = faults(taught.open(), FOLDS)
    assert {("fold leakage", "specialist_history.p_buy"), ("fold leakage", "regime_assignments.warning_probability")} <= set(
        found
    )


def test_a_model_fitted_on_the_tail_is_named(taught: Desk) -> None:
    run = taught.open()
    entry = run.artifacts.entry("warning_export")
    run.artifacts.save(
        "warning_export", run.artifacts.load("warning_export"), (0, entry["fitted_to"] + 10**10), entry["features"]
    )
    assert list(faults(taught.open(), FITTED)) == [(FITTED, "warning_export")]


@pytest.mark.slow
def test_the_honest_pipeline_passes_on_real_candles(real: Desk) -> None:
    """The checks of single features and of looking ahead pass above, where nothing but the user's own features fails."""
    run = real.open()
    assert faults(run, PARITY, SCALERS, FITTED, SERVED, FOLDS) == {}
    rows = run.workspace.read("analysis_stats")
    assert set(rows["check"]) == {PARITY, SCALERS, FITTED, SERVED, TAIL, FOLDS}
    assert set(rows["verdict"]) == {PASS}


@pytest.mark.slow
def test_the_front_door_on_the_honest_pipeline_and_on_features_that_cheat(trained: Desk) -> None:
    before = trained.files()
    done = trained.call("--analyze", "--candles", trained.follow)
    assert (done.returncode, done.stderr.count("FAIL")) == (0, 0), done.stdout
    assert done.stdout.count("pass  ") == len(CHECKS) + 2
    assert "nothing was found that cheats" in done.stdout
    after = trained.files()
    assert set(after) - set(before) == {"performance/analysis.csv"}
    assert {name: after[name] for name in before} == before
    trained.config.write_text(OWN)
    done = trained.call("--analyze")
    assert done.returncode == CHEATS, done.stderr
    for feature in cheats.FEATURES:
        assert (f"      {feature.name}: " in done.stdout) == (feature.name != "honest_distance"), feature.name


def test_own_features_that_were_trained_and_changed_are_refused(trained: Desk) -> None:
    trained.config.write_text(OWN)
    run = trained.open()
    names, trained_with = run.artifacts.entry("scaler_{k}_export", 0)["features"], cheats.FILE.read_bytes()
    run.artifacts.save("own_features", trained_with, (0, 1), names)
    assert faults(run, FITTED) == {}
    run.artifacts.save("own_features", trained_with + b"\n", (0, 1), names)
    with pytest.raises(PipelineError, match=r"cheats\.py: is not what was trained any more"):
        analyze(trained.open(), quiet=True)


def test_it_needs_a_training(fresh: Desk) -> None:
    with pytest.raises(NotTrainedError):
        analyze(fresh.open(fresh.follow), quiet=True)
    assert not fresh.workspace.exists()


def test_it_needs_enough_candles(trained: Desk) -> None:
    run = trained.open()
    candles = run.workspace.read("candles_history", last=2_000)
    run.workspace.write("candles_history", candles)
    with pytest.raises(PipelineError, match="2000 candles are too few to analyse"):
        analyze(run, quiet=True)


def test_areas_by_hand() -> None:
    score, answer = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])
    assert area(score, answer) == 3.5 / 4
    # Hanley & McNeil (1982), table II has 0.0294 for an area of 0.893 from 51 abnormal and 58 normal cases.
    assert area_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.002)
