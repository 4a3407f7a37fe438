"""A room from outside: whatever its predictor does, the minute ends with a row that says how it went."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from table_rows import START

from modules.core.errors import InputNotReady, NotTrainedError, PipelineError, TableError
from modules.core.module import Run, guarded, one_row, row_at, run_predictor
from modules.core.settings import load_settings
from modules.core.telemetry import LOG

REPOSITORY = Path(__file__).parents[2]


class Room:
    __name__ = "modules.m2_regime.predictor"
    TABLES = ("current_regime", "early_warnings")

    def __init__(self, behaviour):
        self.behaviour = behaviour

    def predict(self, run, timestamp):
        confidence = self.behaviour()
        return self._rows(timestamp, 0.5, "ok") | {
            "current_regime": one_row(timestamp, regime="TREND_UP", confidence=confidence, status="ok")
        }

    def fallback(self, run, timestamp, why):
        return self._rows(timestamp, 0.0, why)

    def _rows(self, timestamp, confidence, status):
        warning = one_row(timestamp, warning="none", probability=confidence, threshold=0.7, triggers="", status=status)
        regime = one_row(timestamp, regime="STABLE_LOW", confidence=confidence, status=status)
        return {"early_warnings": warning, "current_regime": regime}


def raising(error):
    def behaviour():
        raise error

    return Room(behaviour)


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path, load_settings())


def log(run):
    path = run.workspace.root / LOG
    return path.read_text() if path.is_file() else ""


def test_a_good_minute(run):
    outcome = run_predictor(Room(lambda: 0.75), run, START)
    assert (outcome.room, outcome.status, outcome.fell_back) == ("m2_regime", "ok", False)
    assert run.workspace.read("current_regime")["confidence"].tolist() == [0.75]
    assert log(run) == ""


def test_an_error_of_ours_falls_back_without_a_traceback(run):
    outcome = run_predictor(raising(PipelineError("no features\nfor this minute")), run, START)
    assert outcome.fell_back
    for table in Room.TABLES:
        assert run.workspace.read(table)["status"].tolist() == ["fallback: no features for this minute"]
    assert log(run).count("\n") == 1
    assert f"m2_regime fell back at {START}: no features for this minute" in log(run)
    assert "Traceback" not in log(run)


def test_an_unexpected_error_falls_back_with_its_traceback(run):
    outcome = run_predictor(raising(ZeroDivisionError("by\nzero")), run, START)
    assert outcome.status == "fallback: ZeroDivisionError: by zero"
    assert "Traceback" in log(run)
    assert "in behaviour" in log(run)


def test_a_long_reason_is_cut(run):
    assert len(run_predictor(raising(PipelineError("x" * 1000)), run, START).status) == 300


@pytest.mark.parametrize("confidence", [np.nan, 1.5])
def test_rows_that_the_catalog_refuses_fall_back(run, confidence):
    outcome = run_predictor(Room(lambda: confidence), run, START)
    assert outcome.fell_back
    assert "row 2: confidence is" in outcome.status
    for table in Room.TABLES:  # the warning had been written as ok before the regime was refused
        assert run.workspace.read(table)["status"].tolist() == [outcome.status]


def test_not_trained_passes_through(run):
    with pytest.raises(NotTrainedError):
        run_predictor(raising(NotTrainedError("here")), run, START)
    assert not run.workspace.exists("current_regime")


def test_ctrl_c_passes_through(run):
    with pytest.raises(KeyboardInterrupt):
        run_predictor(raising(KeyboardInterrupt()), run, START)


def test_a_disk_that_refuses_the_fallback_too_is_told(run):
    (run.workspace.root / "processed").write_bytes(b"")
    with pytest.raises(PipelineError, match="cannot be written"):
        run_predictor(Room(lambda: 0.5), run, START)


def test_the_minute_again_leaves_the_same_bytes(run):
    def content():
        return {path: path.read_bytes() for path in run.workspace.root.rglob("*.csv")}

    run_predictor(Room(lambda: 0.75), run, START)
    before = content()
    run_predictor(Room(lambda: 0.75), run, START)
    assert content() == before
    run_predictor(raising(PipelineError("late")), run, START)
    run_predictor(Room(lambda: 0.75), run, START)
    assert content() == before


def test_row_at(run):
    for minute, status in ((0, "ok"), (60_000, "fallback: late"), (120_000, "off")):
        run.workspace.append("current_regime", one_row(START + minute, regime="TREND_UP", confidence=0.5, status=status))
    rows = run.workspace.read("current_regime")
    assert row_at(rows, START, "regime")["status"] == "ok"
    assert row_at(rows, START + 120_000, "regime")["status"] == "off"
    with pytest.raises(InputNotReady, match="regime fell back"):
        row_at(rows, START + 60_000, "regime")
    for stamp in (START - 60_000, START + 30_000, START + 180_000):
        with pytest.raises(InputNotReady, match="regime has no row for 2024-04-01 05:"):
            row_at(rows, stamp, "regime")


def test_guarded(capsys):
    def fails(error):
        def work():
            raise error

        return work

    assert guarded(lambda: 3) == 3
    assert guarded(fails(TableError("t.csv", ["row 2: a", "row 3: b"]))) == 1
    assert capsys.readouterr().err == "error: t.csv: 2 faults\n  - row 2: a\n  - row 3: b\n"
    assert guarded(fails(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        guarded(fails(ZeroDivisionError()))


def test_a_predictor_alone_before_module_1_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "modules.m2_regime.predictor", "--workspace", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert "run module 1 first" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_cannot_be_written_stops_nothing(run):
    (run.workspace.root / "logs").write_bytes(b"")
    assert run_predictor(raising(PipelineError("late")), run, START).fell_back
