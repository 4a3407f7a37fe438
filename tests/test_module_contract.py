"""What every room must be, held to all of them: those in the live order, and those that train."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from modules.conductor import cycle
from modules.conductor.check import check
from modules.conductor.training import TRAINERS
from modules.core import clock
from modules.core.catalog import ARTIFACTS, EVIDENCE, TABLES
from modules.core.module import Run, run_predictor
from modules.core.tables import parse, render
from modules.core.words import MINUTE_MS, NEUTRAL
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.feeds import FileFeed

ROOMS = {room.__name__.split(".")[1]: room for room in cycle.ORDER}
WHY = "fallback: a test, with a comma"


@pytest.fixture(params=ROOMS)
def name(request) -> str:
    return request.param


def next_minute(desk) -> tuple[Run, int]:
    """A run on the candles that follow, and the minute after the newest one decided."""
    run = desk.open()
    candles, _ = read_candles(desk.follow)
    run.source = FileFeed(candles)
    return run, run.workspace.newest("final_signals") + MINUTE_MS


def due(name: str) -> set[str]:
    """The tables in which a room owes a row each minute, whatever happens: those that others read, but for candles,
    which nobody can make up."""
    read = {table for table in ROOMS[name].TABLES if set(TABLES[table].readers) - {name, "people"}}
    return (read or set(ROOMS[name].TABLES)) - {"candles_live"}


def last(run: Run, table: str = "final_signals") -> dict:
    return {key: values[0] for key, values in run.workspace.read(table, last=1).items()}


# Names


def test_a_predictor_has_its_declared_names(name):
    room = ROOMS[name]
    assert list(inspect.signature(room.predict).parameters) == ["run", "timestamp"]
    assert list(inspect.signature(room.fallback).parameters) == ["run", "timestamp", "why"]
    assert room.TABLES
    for table in room.TABLES:
        assert TABLES[table].writer == name
        assert TABLES[table].keep, "a predictor writes live tables"
        assert TABLES[table].columns[-1].name == "status"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_trainer_has_its_declared_names_and_a_live_room(trainer):
    module = import_module(f"modules.{trainer}.trainer")
    assert list(inspect.signature(module.train).parameters) == ["run", "progress"]
    assert trainer in ROOMS
    assert any(artifact.writer == trainer for artifact in ARTIFACTS.values())


def test_evidence_comes_before_the_fusion_and_the_executor_last():
    order = list(ROOMS)
    assert order[0] == "m1_data_engine"
    assert order[-2:] == ["m5_meta_fusion", "m6_executor"]
    assert {TABLES[evidence.table].writer for evidence in EVIDENCE} <= set(order[:-2])


def test_rooms_read_and_write_only_what_the_catalog_says_of_them(name):
    """Every table that a room's predictor names as a text is one that it writes or is declared to read."""
    texts = {
        node.value
        for node in ast.walk(ast.parse(Path(ROOMS[name].__file__).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for table in texts & set(TABLES):
        assert name in (TABLES[table].writer, *TABLES[table].readers), table


# Fallbacks


def test_a_fallback_is_valid_says_why_and_is_no_number_from_nowhere(replayed, name):
    run, minute = next_minute(replayed)
    rows = ROOMS[name].fallback(run, minute, WHY)
    assert set(rows) <= set(ROOMS[name].TABLES)
    assert set(rows) >= due(name), "each later reader finds a row"
    for table, columns in rows.items():
        path = run.workspace.path(table)
        header, lines = render(TABLES[table], path, columns)
        again = parse(TABLES[table], path, header, lines)
        assert again["timestamp"].tolist() == [minute]
        assert again["status"].tolist() == [WHY]


def test_a_fallback_before_there_is_any_table(trained, name):
    run = trained.open()
    for table, columns in ROOMS[name].fallback(run, 0, WHY).items():
        render(TABLES[table], run.workspace.path(table), columns)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(5, "Input/output error"), ZeroDivisionError()])
def test_a_room_that_raises_falls_back_and_the_cycle_goes_on(replayed, name, error, monkeypatch):
    run, minute = next_minute(replayed)

    def broken(run: Run, timestamp: int) -> dict:
        raise error

    monkeypatch.setattr(ROOMS[name], "predict", broken)
    monkeypatch.setattr(clock, "newest_closed_ms", lambda: minute)
    assert cycle.live(run, quiet=True) == cycle.FELL_BACK
    final = last(run)
    assert final["timestamp"] == minute, "the rooms after it still ran"
    assert last(run, "equity")["timestamp"] == minute
    for table in due(name):
        assert type(error).__name__ in last(run, table)["status"]
    needed = name not in ("m4a_whale", "m4b_sentiment", "m6_executor")
    if needed:
        assert final["signal"] == NEUTRAL
        assert final["size"] == 0
        assert final["status"].startswith("fallback: ")
    assert check(run) == 0
    # The next minute is whole again, and the executor has missed nothing.
    monkeypatch.undo()
    following = [run_predictor(room, run, minute + MINUTE_MS) for room in cycle.ORDER]
    assert not [outcome for outcome in following if outcome.fell_back]
    assert last(run)["status"] == "ok"


def test_under_the_strict_rule_a_fallback_of_the_evidence_is_neutral_too(replayed, monkeypatch):
    replayed.config.write_text(replayed.config.read_text().replace("[fusion]", '[fusion]\nrule = "strict"'))
    run, minute = next_minute(replayed)
    for room in cycle.ORDER:
        run_predictor(room, run, minute)
    assert last(run)["signal"] == NEUTRAL
    assert "strict rule needs" in last(run)["reason"]


# Stale rows


READS = {
    "m2_regime": ("live_features",),
    "m3_specialist": ("live_features", "current_regime"),
    "m5_meta_fusion": ("live_features", "current_regime", "next_regime_probs", "early_warnings", "specialist_signals"),
    "m6_executor": ("candles_live",),
}


@pytest.mark.parametrize(("name", "table"), [(name, table) for name, tables in READS.items() for table in tables])
def test_a_stale_row_never_passes_as_fresh(replayed, name, table):
    """The room before did not run: its newest row is that of the minute before."""
    run, minute = next_minute(replayed)
    for room in cycle.ORDER:
        if room is ROOMS[name]:
            break
        run_predictor(room, run, minute)
    rows = run.workspace.read(table)
    assert rows["timestamp"][-1] == minute
    run.workspace.write(table, {key: values[:-1] for key, values in rows.items()})
    outcome = run_predictor(ROOMS[name], run, minute)
    assert outcome.fell_back
    assert table in outcome.status or "candle" in outcome.status
    if name == "m5_meta_fusion":
        assert last(run)["signal"] == NEUTRAL


# Alone, and twice


def without_exchange(desk) -> None:
    """Module 1 alone asks the exchange; in these tests nobody answers."""
    desk.config.write_text(desk.config.read_text() + '[exchange]\nbase_url = "http://127.0.0.1:9"\nattempts = 1\n')


def test_module_1_alone_asks_the_exchange(replayed):
    without_exchange(replayed)
    done = replayed.room("m1_data_engine.predictor")
    assert done.returncode == 3
    assert "no connection to 127.0.0.1" in done.stdout


@pytest.mark.parametrize("name", list(ROOMS)[1:])
def test_each_other_predictor_runs_alone(replayed, name):
    before = replayed.files()
    done = replayed.room(f"{name}.predictor")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith(f"{name}: ")
    assert replayed.files() == before, "the newest minute was done already"


def test_each_predictor_alone_in_a_row_is_the_cycle(replayed, tmp_path):
    """Seven processes, one a room, leave what one cycle leaves."""
    whole = replayed.copy(tmp_path / "whole")
    assert whole.replay("--minutes", 1).returncode == 0
    run, minute = next_minute(replayed)
    assert not run_predictor(ROOMS["m1_data_engine"], run, minute).fell_back
    for name in list(ROOMS)[1:]:
        assert replayed.room(f"{name}.predictor").returncode == 0
    assert replayed.files() == whole.files()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_each_trainer_and_predictor_explains_itself(trained, trainer):
    for part in ("trainer", "predictor"):
        done = trained.room(f"{trainer}.{part}", "--help")
        assert done.returncode == 0
        assert "--workspace" in done.stdout


def test_a_predictor_without_any_row_or_training_says_so(trained, fresh, name):
    for desk in (trained, fresh):
        without_exchange(desk)
        done = desk.room(f"{name}.predictor")
        assert "Traceback" not in done.stderr
        if name == "m1_data_engine" and desk is trained:
            assert done.returncode == 3
            assert "no connection to 127.0.0.1" in done.stdout
        else:
            assert done.returncode == 1
            assert done.stderr.startswith("error: ")


def test_the_same_minute_twice_changes_no_byte(replayed, name):
    run, minute = next_minute(replayed)
    for room in cycle.ORDER:
        run_predictor(room, run, minute)
        if room is ROOMS[name]:
            break
    before = replayed.files()
    for again in (run, next_minute(replayed)[0]):
        assert not run_predictor(ROOMS[name], again, minute).fell_back
        assert replayed.files() == before


def test_all_rooms_twice_change_no_byte(replayed):
    run, minute = next_minute(replayed)
    cycle.cycle(run, minute)
    before = replayed.files()
    cycle.cycle(run, minute)
    cycle.cycle(next_minute(replayed)[0], minute)
    assert replayed.files() == before


def test_rows_are_of_the_minute_that_was_asked_for(replayed):
    run, minute = next_minute(replayed)
    cycle.cycle(run, minute)
    for name in ROOMS:
        for table in due(name):
            rows = run.workspace.read(table)
            assert rows["timestamp"][-1] == minute
            assert np.all(np.diff(rows["timestamp"]) == MINUTE_MS)
