"""The front door as a user finds it: what it says, and how it ends."""

import fcntl
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest

from modules.conductor.replay import stamp_of
from modules.conductor.training import TRAINERS
from tests.conftest import REPOSITORY, SYNCED, UNSYNCED

MODES = ("--train", "--replay", "--backtest", "--walk-forward", "--analyze", "--report", "--loop", "--demo", "--check")


def one_error(done) -> str:
    """The message of a command that could not run."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    return done.stderr


# Flags


def test_help_names_every_flag_and_exit_code():
    command = [sys.executable, str(REPOSITORY / "run_pipeline.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={**UNSYNCED, "COLUMNS": "80"}, check=True)
    others = ("--only", "--minutes", "--from", "--to", "--workspace", "--config", "--candles", "--quiet", "--verbose")
    for flag in (*MODES, *others):
        assert f"\n  {flag} " in done.stdout
    assert "Exit codes: 0" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_before_any_training_one_line_says_how_to_train(fresh):
    told = one_error(fresh.call())
    assert told.count("\n") == 1
    assert "--train --candles FILE" in told


@pytest.mark.parametrize("flags", [(), ("--replay", "--candles", "x.csv"), ("--loop",)])
def test_what_needs_a_training_leaves_no_trace_without_one(fresh, flags):
    empty = type(fresh)(fresh.root / "other")
    (fresh.root / "other").mkdir()
    empty.config.write_text("")
    assert "no trained models" in one_error(empty.call(*flags))
    assert not empty.workspace.exists()


def test_unknown_trainers_are_named_beside_those_that_there_are(fresh):
    told = one_error(fresh.call("--train", "--only", "m2_regim,m9", "--candles", fresh.learn))
    assert "m2_regim,m9" in told
    assert ", ".join(TRAINERS) in told


def test_replay_without_candles(trained):
    assert "--candles FILE" in one_error(trained.call("--replay"))


@pytest.mark.parametrize(
    "flags",
    [
        ("--replay", "--minutes", "-3"),
        ("--replay", "--minutes", "0"),
        ("--replay", "--minutes", "2.5"),
        ("--check", "--minutes", "3"),
        ("--from", "2024-01-01"),
        ("--only", "m2_regime"),
        ("--train", "--replay"),
        ("--nonsense",),
    ],
)
def test_flags_that_make_no_sense_are_refused(fresh, flags):
    done = fresh.call(*flags)
    assert done.returncode == 2
    assert "run_pipeline.py: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_time_that_is_none_is_refused(trained):
    assert "'yesterday' is no time" in one_error(trained.replay("--from", "yesterday"))


def test_from_and_to_bound_the_replay_and_minutes_ends_it(trained):
    # The following candles begin on 2024-01-07 at 22:40 UTC.
    assert trained.replay("--from", "2024-01-07T22:45", "--to", "2024-01-07T22:49").returncode == 0
    stamps = trained.open().workspace.read("final_signals")["timestamp"]
    assert stamps.tolist() == [1_704_667_500_000 + k * 60_000 for k in range(5)]
    assert trained.replay("--minutes", 2, "--quiet").returncode == 0
    assert trained.open().workspace.newest("final_signals") == stamps[-1] + 2 * 60_000
    done = trained.replay("--to", "2024-01-07T22:40")
    assert done.returncode == 0
    assert "nothing to do" in done.stdout


def test_offsets_of_typed_times_are_heeded():
    assert stamp_of("2024-04-01T05:30+05:30") == stamp_of("2024-04-01") == stamp_of("1711929600000")


def test_a_second_process_is_told_that_the_workspace_is_taken(trained):
    with open(trained.workspace / "logs" / "pipeline.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = trained.files()
        for flags in ((), ("--train", "--candles", trained.learn), ("--replay", "--candles", trained.follow)):
            assert "another run is at work" in one_error(trained.call(*flags))
        assert trained.files() == before


def test_quiet_says_nothing(trained):
    done = trained.replay("--minutes", 2, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_replay_tells_what_it_did_and_where_it_lies(trained):
    done = trained.replay("--minutes", 3)
    assert "3 minutes from 2024-01-08 04:10:00 to 2024-01-08 04:12:00 IST" in done.stdout
    assert str(trained.workspace) in done.stdout


# The check


def test_check_is_green_on_a_trained_and_replayed_workspace(replayed):
    before = replayed.files()
    done = replayed.call("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all as the catalog says" in done.stdout
    assert replayed.files() == before


def test_check_finds_all_faults_at_once(replayed):
    root = replayed.workspace
    (root / "models/regime.json").write_text("{}")
    (root / "models/specialist_range_low.txt").unlink()
    (root / "models/gmm_model.pkl").write_bytes(pickle.dumps("another"))
    (root / "data/live/1m.csv").write_bytes((root / "data/live/1m.csv").read_bytes()[:-7])
    final = root / "processed/live/final_signals.csv"
    final.write_text(final.read_text().replace("NEUTRAL", "MAYBE").replace("BUY", "HOLD"))
    (root / "processed/chunk_1.csv").write_text("timestamp\n")
    (root / "performance/ledger.sqlite").write_bytes(b"no ledger at all" * 64)
    done = replayed.call("--check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    named = ("regime.json", "specialist_range_low.txt", "gmm_model.pkl", "1m.csv", "final_signals.csv", "chunk_1.csv")
    for name in (*named, "ledger.sqlite"):
        assert name in done.stdout
    assert "7 fault(s)" in done.stdout


def test_check_goes_on_past_a_broken_manifest(replayed):
    (replayed.workspace / "models/manifest.json").write_text('{"half')
    (replayed.workspace / "processed/chunk_1.csv").write_text("timestamp\n")
    done = replayed.call("--check")
    assert done.returncode == 1
    assert "manifest.json" in done.stdout
    assert "chunk_1.csv" in done.stdout
    assert "Traceback" not in done.stderr


def test_check_of_what_is_no_folder(fresh):
    absent = type(fresh)(fresh.root / "absent")
    (fresh.root / "absent").mkdir()
    absent.config.write_text("")
    assert "is no folder" in one_error(absent.call("--check"))


# The demo


def test_the_demo_refuses_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for folder in (tmp_path, tmp_path / "thesis.txt", tmp_path / "thesis.txt" / "below"):
        command = [sys.executable, str(REPOSITORY / "run_pipeline.py"), "--demo", "--workspace", str(folder)]
        one_error(subprocess.run(command, capture_output=True, text=True, env=UNSYNCED, check=False))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# Ctrl-C


def interrupted(desk, flags, wait_for: str, seconds: float) -> None:
    """Ctrl-C some seconds after the command said ``wait_for``; often while it waits for the disk with a file half done."""

    def as_from_a_terminal() -> None:
        """A shell starts what it puts into the background deaf to Ctrl-C, and so would these tests be there."""
        signal.signal(signal.SIGINT, signal.default_int_handler)

    wires = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(desk.door(*flags), env=SYNCED, preexec_fn=as_from_a_terminal, **wires) as process:
        said = b""
        while wait_for.encode() not in said:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, said
            said += piece
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all processes of the command
        said += process.communicate(timeout=60)[1]
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said
    assert b"stopped; what was finished is on disk" in said
    assert not [path for path in desk.workspace.rglob("*") if path.name.endswith(".tmp")]
    check = desk.call("--check")
    assert check.returncode == 0, check.stdout


def test_ctrl_c_during_a_replay(trained):
    moments = random.Random(1)
    for _ in range(5):
        flags = ("--replay", "--candles", trained.follow)
        interrupted(trained, flags, "replay of following.csv ...", moments.uniform(0, 0.5))
    done = trained.replay("--minutes", 2)
    assert done.returncode == 0
    final = trained.open().workspace.read("final_signals")
    assert set((final["timestamp"][1:] - final["timestamp"][:-1]).tolist()) == {60_000}
    assert set(final["status"]) == {"ok"}


def test_ctrl_c_while_the_first_module_trains(fresh):
    interrupted(fresh, ("--train", "--candles", fresh.learn), "1 data engine: mutual information", 0.3)
    assert "no trained models" in one_error(fresh.call())


@pytest.mark.slow
@pytest.mark.parametrize("step", ["scaling and writing the chunks", "3 specialists: walk-forward"])
def test_ctrl_c_during_a_training_leaves_nothing_that_would_trade(replayed, step):
    more = ("--train", "--candles", replayed.learn)
    replayed.config.write_text(replayed.config.read_text().replace("[data]", "[data]\nselect = 20"))
    interrupted(replayed, more, step, 0.02)
    assert replayed.replay("--minutes", 1).returncode == 3
    last = replayed.open().workspace.read("final_signals", last=1)
    assert last["signal"][0] == "NEUTRAL"
    assert last["status"][0].startswith("fallback: ")


def test_candles_that_nobody_would_read_are_refused(fresh):
    done = fresh.call("--train", "--only", "m2_regime", "--candles", fresh.learn)
    assert done.returncode == 1
    assert "--only leaves it out" in done.stderr
    for mode in ([], ["--loop"], ["--check"]):
        done = fresh.call(*mode, "--candles", fresh.learn)
        assert done.returncode == 2
        assert "--candles goes with" in done.stderr
