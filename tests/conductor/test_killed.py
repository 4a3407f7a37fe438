"""SIGKILL at any moment of a replay: it goes on from where it was, and at the end nobody can tell."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modules.core.words import DAY_MINUTES
from tests.conftest import UNSYNCED

DRIVER = Path(__file__).with_name("killed_replay.py")


def written(desk) -> dict[str, bytes]:
    """What the pipeline shows, without what a killed process was about to rename and what only the ledger remembers:
    which export it wrote last."""
    files = desk.files()
    ledger = files["performance/ledger.sqlite"].decode().splitlines()
    files["performance/ledger.sqlite"] = "\n".join(line for line in ledger if '"exports"' not in line).encode()
    return {name: data for name, data in files.items() if not name.endswith(".tmp")}


def trades(desk) -> int:
    return len(desk.open().workspace.read("trade_logs")["timestamp"])


def assert_same(killed, undisturbed) -> None:
    one, other = written(killed), written(undisturbed)
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.slow
def test_two_hundred_kills_leave_no_trace(trained, tmp_path):
    undisturbed = trained.copy(tmp_path / "undisturbed")
    command = [sys.executable, DRIVER, trained.workspace, trained.config, trained.follow, undisturbed.workspace, "200", "5"]
    done = subprocess.run(command, capture_output=True, text=True, env=UNSYNCED, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    fatal, minutes = map(int, done.stdout.split())
    assert fatal == 200, "each kill must hit a replay at work"
    assert minutes > 20, "the kills must be spread over the replay"
    assert trades(undisturbed) > 10, "without trades there is nothing to lose or to double"
    assert_same(trained, undisturbed)
    for table in ("final_signals", "equity", "candles_live"):
        stamps = trained.open().workspace.archived(table)["timestamp"]
        assert set((stamps[1:] - stamps[:-1]).tolist()) == {60_000}, table
    assert trained.call("--check").returncode == 0


def test_kills_of_the_whole_program(trained, tmp_path):
    undisturbed = trained.copy(tmp_path / "undisturbed")
    moments = random.Random(2)
    bound = ("--to", "2024-01-07T23:10")
    for _ in range(6):
        with subprocess.Popen(trained.door("--replay", "--candles", trained.follow, *bound, "--quiet"), env=UNSYNCED) as process:
            time.sleep(moments.uniform(0.1, 0.6))
            process.send_signal(signal.SIGKILL)
    assert trained.replay(*bound).returncode == 0
    assert undisturbed.replay(*bound).returncode == 0
    assert_same(trained, undisturbed)


def test_a_kill_between_the_decision_and_the_executor_on_the_last_minute(trained, tmp_path):
    undisturbed = trained.copy(tmp_path / "undisturbed")
    assert undisturbed.replay("--minutes", 4).returncode == 0
    assert trained.replay("--minutes", 3).returncode == 0
    executor = {name: data for name, data in trained.files().items() if name.startswith("performance/")}
    assert trained.replay("--minutes", 1).returncode == 0
    assert written(trained) == written(undisturbed)
    for name in ("equity.csv", "reports.csv", "ledger.sqlite"):
        path = trained.workspace / "performance" / name
        if name != "ledger.sqlite":
            path.write_bytes(executor[f"performance/{name}"])
    last = undisturbed.open().workspace.newest("equity")
    assert trained.open().workspace.newest("equity") == last - 60_000
    assert trained.replay("--to", str(last)).returncode == 0
    assert_same(trained, undisturbed)
    assert DAY_MINUTES > 4
