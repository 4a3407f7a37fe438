"""Bad candle files and bad disks, through the front door: a clear error or a counted repair, and nothing half-written."""

import gzip
import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modules.conductor.check import check
from modules.core.module import run_predictor
from modules.m2_regime import predictor as m2

MINUTE = 60_000
ROW = 20  # of the file, counted as an editor does: the header is row 1
CELL = {name: i for i, name in enumerate(("timestamp", "open", "high", "low", "close", "volume", "quote_volume", "trades"))}


def with_cell(column: str, value: str):
    def spoil(lines: list[str]) -> list[str]:
        cells = lines[ROW - 1].split(",")
        cells[CELL[column]] = value
        return [*lines[: ROW - 1], ",".join(cells), *lines[ROW:]]

    return spoil


def without(count: int):
    return lambda lines: lines[: ROW - 1] + lines[ROW - 1 + count :]


def stamps_times(factor: float):
    def spoil(lines: list[str]) -> list[str]:
        split = [line.split(",", 1) for line in lines[1:]]
        return [lines[0], *(f"{int(int(stamp) * factor)},{rest}" for stamp, rest in split)]

    return spoil


def differing_twin(lines: list[str]) -> list[str]:
    cells = lines[ROW - 2].split(",")
    cells[CELL["volume"]] = "0.125"
    return [*lines[: ROW - 1], ",".join(cells), *lines[ROW - 1 :]]


REFUSED = {
    "missing column": (lambda lines: [line.rsplit(",", 2)[0] for line in lines], "row 1: column taker_buy_base is missing"),
    "text in a number": (with_cell("close", "n/a"), f"row {ROW}, column close: 'n/a'"),
    "NaN": (with_cell("open", "NaN"), f"row {ROW}, column open"),
    "infinite": (with_cell("volume", "inf"), f"row {ROW}, column volume"),
    "empty cell": (with_cell("high", ""), f"row {ROW}, column high"),
    "zero price": (with_cell("low", "0"), f"row {ROW}, column low: 0 is not above zero"),
    "negative price": (with_cell("open", "-1"), f"row {ROW}, column open: -1 is not above zero"),
    "high below low": (with_cell("high", "1"), f"row {ROW}, column high: 1 is below the low"),
    "twin with other values": (differing_twin, f"row {ROW}"),
    "gap of 80 minutes": (without(80), f"row {ROW}: gap of 80 minutes"),
    "a stamp that is no time": (with_cell("timestamp", "12"), f"row {ROW}, column timestamp"),
    "too many cells": (with_cell("trades", "1,2"), f"row {ROW}: 11 fields instead of 10"),
    "empty": (lambda lines: [], "the file is empty"),
    "header only": (lambda lines: lines[:1], "there are no candles in it"),
    "formula": (with_cell("close", "=1+1"), f"row {ROW}, column close: '=1+1'"),
}
REPAIRED = {
    "twin": (lambda lines: [*lines[:ROW], *lines[ROW - 1 :]], "1 duplicate row dropped"),
    "out of order": (lambda lines: [*lines[:ROW], lines[ROW + 1], lines[ROW], *lines[ROW + 2 :]], "1 row out of order sorted"),
    "gap of 1 minute": (without(1), "gap of 1 minute after"),
    "gap of 5 minutes": (without(5), "gap of 5 minutes after"),
    "half a line": (lambda lines: [*lines[:-2], lines[-2][:30]], "half a line at the end (row 600) dropped"),
}


def spoilt(desk, spoil) -> None:
    """Spoil the file that follows; half a line is one without an end."""
    lines = spoil(desk.follow.read_text().splitlines())
    whole = all(line.count(",") > 5 for line in lines)
    desk.follow.write_text("\n".join(lines) + ("\n" if whole and lines else ""))


def clean_error(done) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr[done.stderr.index("error: ") :]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_is_refused_changes_nothing(trained, kind):
    spoil, said = REFUSED[kind]
    spoilt(trained, spoil)
    before = trained.files()
    for mode in ("--replay", "--train"):
        told = clean_error(trained.call(mode, "--candles", trained.follow))
        assert "following.csv: " in told
        assert said in told
    assert trained.files() == before
    assert check(trained.open()) == 0


def test_all_faults_of_a_file_are_listed_at_once(trained):
    for kind in ("NaN", "zero price", "text in a number"):
        spoilt(trained, REFUSED[kind][0])
    told = clean_error(trained.replay())
    assert "3 faults" in told
    for column in ("open", "low", "close"):
        assert f"row {ROW}, column {column}" in told


@pytest.mark.parametrize("kind", REPAIRED)
def test_a_file_that_can_be_mended_is_mended_and_said_so(trained, kind):
    spoil, said = REPAIRED[kind]
    spoilt(trained, spoil)
    done = trained.replay("--minutes", 1)
    assert done.returncode == 0, done.stderr
    assert f"repaired: {said}" in done.stdout
    assert check(trained.open()) == 0


@pytest.mark.parametrize("factor", [1 / 1000, 1000])
def test_seconds_and_microseconds_are_the_same_candles(trained, tmp_path, factor):
    other = trained.copy(tmp_path / "other")
    spoilt(other, stamps_times(factor))
    for desk in (trained, other):
        assert desk.replay("--minutes", 1).returncode == 0
    assert trained.files() == other.files()


def test_gzip_is_the_same_candles_and_a_cut_one_is_refused(trained, tmp_path):
    other = trained.copy(tmp_path / "other")
    other.follow.write_bytes(gzip.compress(other.follow.read_bytes()))
    for desk in (trained, other):
        assert desk.replay("--minutes", 1).returncode == 0
    assert trained.files() == other.files()
    other.follow.write_bytes(other.follow.read_bytes()[:-100])
    assert "cut off" in clean_error(other.replay())


@pytest.mark.parametrize(("name", "said"), [("absent.csv", "does not exist"), (".", "this is a directory")])
def test_what_is_no_file(trained, name, said):
    assert said in clean_error(trained.call("--replay", "--candles", trained.root / name))


def test_candles_that_are_too_few_to_learn_from(trained):
    before = trained.files()
    del before["data/historical/1m_200000.csv"]  # they are stored before anything is made of them
    assert "give a longer candle file" in clean_error(trained.call("--train", "--candles", trained.follow))
    after = trained.files()
    assert {name: after[name] for name in before} == before, "the models of before still serve"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fusion]\nmin_confidense = 1", "did you mean min_confidence?"),
        ("[fusion", "is not valid TOML"),
        ("[data]\nrows = 'many'\nselect = 0", "2 fault(s)"),
    ],
)
def test_settings_that_are_refused(trained, text, said):
    trained.config.write_text(text)
    assert said in clean_error(trained.replay())


# Disks


def no_larger_than(size: int):
    """Each file that the command writes may grow to so many bytes: a disk that is full for everything larger."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def test_a_full_disk_during_a_replay(trained, tmp_path):
    undisturbed = trained.copy(tmp_path / "undisturbed")
    before = trained.files()
    done = trained.call("--replay", "--candles", trained.follow, "--minutes", 2, **no_larger_than(16))
    assert "File too large" in clean_error(done)
    assert trained.files() == before
    assert check(trained.open()) == 0
    # With room again it goes on as if nothing had been.
    for desk in (trained, undisturbed):
        assert desk.replay("--minutes", 2).returncode == 0
    assert trained.files() == undisturbed.files()


def test_a_disk_that_is_full_for_the_larger_tables_only(replayed):
    done = replayed.call("--replay", "--candles", replayed.follow, "--minutes", 2, **no_larger_than(40_000))
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stderr
    assert not list(replayed.workspace.rglob("*.tmp"))
    assert check(replayed.open()) == 0
    assert replayed.replay("--minutes", 2).returncode == 0
    assert check(replayed.open()) == 0


def test_a_full_disk_during_a_training_keeps_what_was_there(trained):
    before = trained.files()
    done = trained.call("--train", "--candles", trained.learn, **no_larger_than(100_000))
    assert "1m_200000.csv: cannot be written (File too large)" in clean_error(done)
    assert trained.files() == before


@pytest.mark.parametrize("part", ["processed", "processed/live", "performance"])
def test_a_folder_that_is_a_file(trained, part):
    folder = trained.workspace / part
    if folder.exists():
        folder.rename(folder.with_name("moved"))
    folder.write_text("in the way")
    told = clean_error(trained.replay("--minutes", 1))
    assert part in told
    assert folder.read_text() == "in the way"


def test_a_workspace_that_is_a_file(trained):
    file = type(trained)(trained.root / "other")
    file.root.mkdir()
    file.config.write_text("")
    file.workspace.write_text("in the way")
    for flags in ((), ("--train", "--candles", trained.learn), ("--replay", "--candles", trained.follow), ("--check",)):
        told = clean_error(file.call(*flags))
        assert str(file.workspace) in told
    assert file.workspace.read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(trained):
    live = trained.workspace / "processed"
    live.chmod(0o555)
    try:
        assert "cannot be written (Permission denied)" in clean_error(trained.replay("--minutes", 1))
    finally:
        live.chmod(0o755)


def test_a_ledger_that_another_program_holds(replayed):
    with closing(sqlite3.connect(replayed.workspace / "performance/ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = replayed.replay("--minutes", 1)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    equity = replayed.open().workspace.read("equity", last=1)
    assert "locked" in equity["status"][0]
    assert replayed.replay("--minutes", 1).returncode == 0
    assert set(replayed.open().workspace.read("equity", last=2)["status"]) == {"ok"}, "it went through both minutes"


def test_a_live_table_damaged_by_hand_is_named_and_left_alone(replayed):
    path = Path(replayed.open().workspace.path("live_features"))
    text = path.read_text()
    path.write_text(text[:-20] + "\n")
    damaged = path.read_bytes()
    done = replayed.replay("--minutes", 1)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "live_features.csv" in done.stderr
    assert path.read_bytes() == damaged
    path.write_text(text)
    assert replayed.replay("--minutes", 1).returncode == 0


def test_a_model_that_is_not_the_manifests_is_not_used(replayed):
    (replayed.workspace / "models/regime.json").write_bytes(b"{}")
    run = replayed.open()
    outcome = run_predictor(m2, run, run.workspace.newest("live_features"))
    assert outcome.fell_back
    assert "regime.json" in outcome.status
    assert "SHA-256 differs" in outcome.status
