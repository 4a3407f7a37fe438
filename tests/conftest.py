"""A small workspace, trained once a session on the simulated market, and copied for each test that asks for it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from modules.core.module import REPOSITORY, Run
from modules.core.settings import load_settings
from modules.core.tables import Columns
from modules.m1_data_engine.simulated_market import Simulation, simulate

TRAINING_MINUTES, FOLLOWING_MINUTES, SEED = 10_000, 600, 3
CONFIG = """\
[data]
rows = 10000
chunk_rows = 2500
[labels]
move_bps = 30.0
[learning]
folds = 4
rounds = 40
min_regime_rows = 500
[specialist]
min_confidence = 0.4
[fusion]
min_confidence = 0.1
[costs]
fee = 0.0001
slippage = 0.0
"""
"""Small enough to train in seconds; costs and thresholds so low that the replay trades."""

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SYNCED = {**os.environ, **THREADS, "PYTHONPATH": str(REPOSITORY)}
UNSYNCED = {**SYNCED, "PYTHONPATH": f"{Path(__file__).parent / 'conductor' / 'unsynced'}{os.pathsep}{REPOSITORY}"}
"""The environment of a process; in the second nothing waits for the disk."""


@dataclass(frozen=True)
class Desk:
    """A workspace with its settings, the candles that it learned from, and those that follow."""

    root: Path

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def config(self) -> Path:
        return self.root / "small.toml"

    @property
    def learn(self) -> Path:
        return self.root / "training.csv"

    @property
    def follow(self) -> Path:
        return self.root / "following.csv"

    def copy(self, to: Path) -> "Desk":
        shutil.copytree(self.root, to, dirs_exist_ok=True)
        return Desk(to)

    def open(self, candles: Path | None = None) -> Run:
        return Run.open(self.workspace, load_settings(self.config), candles=candles)

    def door(self, *flags: object) -> list[str]:
        """The command line of the front door on this workspace."""
        common = ["--workspace", self.workspace, "--config", self.config]
        return [sys.executable, str(REPOSITORY / "run_pipeline.py"), *map(str, [*flags, *common])]

    def call(self, *flags: object, **more) -> subprocess.CompletedProcess:
        """The front door, run to its end as a user runs it."""
        return subprocess.run(self.door(*flags), capture_output=True, text=True, env=UNSYNCED, timeout=300, **more)

    def room(self, name: str, *flags: str) -> subprocess.CompletedProcess:
        """``python -m modules.<name>`` on this workspace."""
        command = [sys.executable, "-m", f"modules.{name}", "--workspace", self.workspace, "--config", self.config, *flags]
        return subprocess.run(command, capture_output=True, text=True, env=UNSYNCED, cwd=REPOSITORY, timeout=300)

    def replay(self, *flags: object) -> subprocess.CompletedProcess:
        return self.call("--replay", "--candles", self.follow, *flags)

    def files(self) -> dict[str, bytes]:
        """All that the pipeline has written, but for its log: each file's bytes, the ledger as its rows (SQLite's own
        pages depend on who last tidied them), the manifest without the hour of its making."""
        found = {}
        for path in sorted(self.workspace.rglob("*")):
            name = str(path.relative_to(self.workspace))
            if not path.is_file() or name.startswith("logs/") or name.endswith(("-wal", "-shm")):
                continue
            found[name] = path.read_bytes()
            if path.suffix == ".sqlite":
                with closing(sqlite3.connect(path)) as ledger:
                    found[name] = "\n".join(ledger.iterdump()).encode()
            if path.name == "manifest.json":
                entries = json.loads(found[name])
                found[name] = json.dumps({key: {**entry, "made_at": 0} for key, entry in entries.items()}).encode()
        return found


def write_candles(path: Path, candles: Columns) -> None:
    rows = zip(*(values.tolist() for values in candles.values()), strict=True)
    path.write_text("\n".join([",".join(candles), *(",".join(map(repr, row)) for row in rows)]) + "\n")


@pytest.fixture(scope="session")
def market() -> Simulation:
    """The whole market: what was learned from, and what follows. Its edge is strong, so that there are trades."""
    return simulate(TRAINING_MINUTES + FOLLOWING_MINUTES, SEED, "strong")


@pytest.fixture(scope="session")
def fresh_once(tmp_path_factory: pytest.TempPathFactory, market: Simulation) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("fresh"))
    desk.config.write_text(CONFIG)
    # As users begin: candles, and no history of the order book, of transactions or of news.
    for path, part in ((desk.learn, slice(0, TRAINING_MINUTES)), (desk.follow, slice(TRAINING_MINUTES, None))):
        write_candles(path, {name: values[part] for name, values in market.candles.items()})
    return desk


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory, fresh_once: Desk) -> Desk:
    desk = fresh_once.copy(tmp_path_factory.mktemp("trained"))
    done = desk.call("--train", "--candles", desk.learn)
    assert done.returncode == 0, done.stderr
    return desk


@pytest.fixture(scope="session")
def replayed_once(tmp_path_factory: pytest.TempPathFactory, trained_once: Desk) -> Desk:
    desk = trained_once.copy(tmp_path_factory.mktemp("replayed"))
    done = desk.replay("--minutes", 150)
    assert done.returncode == 0, done.stderr
    return desk


@pytest.fixture
def fresh(tmp_path: Path, fresh_once: Desk) -> Desk:
    """A workspace with candles and nothing trained."""
    return fresh_once.copy(tmp_path / "desk")


@pytest.fixture
def trained(tmp_path: Path, trained_once: Desk) -> Desk:
    """A trained workspace of one's own."""
    return trained_once.copy(tmp_path / "desk")


@pytest.fixture
def replayed(tmp_path: Path, replayed_once: Desk) -> Desk:
    """A workspace of one's own, trained and 150 minutes into the following candles."""
    return replayed_once.copy(tmp_path / "desk")
