"""The walk-forward: what a fold may know, the same rows whoever makes them, and a run that goes on where it was stopped."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.conductor.training import train
from modules.core.catalog import CANDLES_KEPT, SAID
from modules.core.errors import PipelineError, SettingsError
from modules.core.module import REPOSITORY, Run
from modules.core.settings import load_settings
from modules.core.tables import Columns
from modules.core.words import DAY_MINUTES, MINUTE_MS
from modules.evaluation import walk_forward as tested
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.features import registry
from tests.conductor.test_front_door import interrupted, one_error
from tests.conftest import THREADS, Desk

TRAIN_DAYS, TEST_DAYS = 6, 1
SECOND = 400
"""Candles that are left for the second and last fold."""
CONFIG = f"\n[walk_forward]\ntrain_days = {TRAIN_DAYS}\ntest_days = {TEST_DAYS}\n"
TRAINING, TESTING = TRAIN_DAYS * DAY_MINUTES, TEST_DAYS * DAY_MINUTES
FOLDS = ("fold_0.csv", "fold_1.csv")


class Enough(PipelineError):
    """Raised where a test has seen what it came for."""


@dataclass
class Watched:
    """Trains as the front door does, and remembers what each fold's workspace held then."""

    then: Callable[..., object] = train
    learned: list[Columns] = field(default_factory=list)
    fitted_to: list[dict[str, int]] = field(default_factory=list)

    def __call__(self, run: Run, quiet: bool) -> None:
        self.learned.append(run.workspace.read("candles_history"))
        self.then(run, quiet=quiet)
        self.fitted_to.append({name: run.artifacts.entry(name)["fitted_to"] for name in run.artifacts.names()})


def no_further(*_: object, **__: object) -> None:
    raise Enough("seen")


def rows_of(desk: Desk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((desk.workspace / "processed/walk_forward").glob("fold_*.csv"))}


def last(desk: Desk) -> int:
    """The stamp of the last candle that these tests use."""
    return int(read_candles(desk.learn)[0]["timestamp"][TRAINING + TESTING + SECOND - 1])


def walk(desk: Desk, by: Callable[..., object] = train, **more) -> int:
    return tested.walk_forward(desk.open(desk.learn), by, end=last(desk), quiet=more.pop("quiet", True), **more)


def own_feature(desk: Desk, value: str) -> None:
    """Bring a feature of the user's own."""
    (desk.root / "own.py").write_text(
        "from modules.m1_data_engine.features.market import Feature\n"
        f"FEATURES = (Feature('own', 'own_feature', 0, lambda market: {value}),)\n"
    )
    desk.config.write_text(desk.config.read_text().replace("[data]", '[data]\nown_features = "own.py"'))


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


@pytest.fixture(scope="module")
def walked_once(tmp_path_factory: pytest.TempPathFactory, fresh_once: Desk, watched: Watched) -> Desk:
    desk = fresh_once.copy(tmp_path_factory.mktemp("walked"))
    desk.config.write_text(desk.config.read_text() + CONFIG)
    following = desk.follow.read_text().split("\n", 1)[1]
    desk.learn.write_text(desk.learn.read_text() + following)
    assert walk(desk, watched) == 0
    return desk


@pytest.fixture
def walked(tmp_path: Path, walked_once: Desk) -> Desk:
    """A workspace of one's own with both folds made."""
    return walked_once.copy(tmp_path / "desk")


@pytest.fixture
def ready(walked: Desk) -> Desk:
    """The same with no fold made."""
    shutil.rmtree(walked.workspace)
    return walked


# What a fold may know


def test_every_candle_after_the_first_training_window_is_tested_once(walked_once: Desk) -> None:
    run, candles = walked_once.open(), read_candles(walked_once.learn)[0]
    first, second = (run.workspace.read("walk_forward_fold", k) for k in range(2))
    stamps = np.concatenate([first["timestamp"], second["timestamp"]])
    assert stamps.tolist() == candles["timestamp"][TRAINING : TRAINING + TESTING + SECOND].tolist()
    assert list(first) == ["timestamp", *(column.name for column in SAID)]
    assert first["close"].tolist() == candles["close"][TRAINING : TRAINING + TESTING].tolist()
    assert len(set(first["regime"])) > 1
    assert np.std(first["warning_probability"]) > 0


def test_nothing_learns_from_its_test_window_nor_from_the_gap_before_it(walked_once: Desk, watched: Watched) -> None:
    settings = walked_once.open().settings
    gap = (settings.labels.horizon + 1 + settings.learning.embargo) * MINUTE_MS
    assert len(watched.learned) == 2
    for k, (learned, fitted_to) in enumerate(zip(watched.learned, watched.fitted_to, strict=True)):
        first = walked_once.open().workspace.read("walk_forward_fold", k)["timestamp"][0]
        assert learned["timestamp"][-1] == first - gap - MINUTE_MS
        assert learned["timestamp"][0] == first - TRAINING * MINUTE_MS
        assert {"specialists_export", "warning_export", "meta_fusion_export"} < set(fitted_to)
        assert max(fitted_to.values()) < first - gap


def test_later_candles_change_no_row_of_a_fold(walked_once: Desk) -> None:
    run, candles = walked_once.open(), read_candles(walked_once.learn)[0]
    later = slice(TRAINING + TESTING, None)
    for name in ("open", "high", "low", "close"):
        candles[name] = candles[name].copy()
        candles[name][later] *= np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, len(candles[name][later]))))
    k, said, _ = tested.make(tested.plan(candles, {}, b"", run.settings)[0], train)
    before = (walked_once.workspace / "processed/walk_forward/fold_0.csv").read_bytes()
    other = Run.open(walked_once.root / "other", run.settings)
    other.workspace.write("walk_forward_fold", said, k)
    assert other.workspace.path("walk_forward_fold", 0).read_bytes() == before


def test_optional_tables_reach_the_fold_but_not_beyond_its_test_window(ready: Desk) -> None:
    stamps = read_candles(ready.learn)[0]["timestamp"]
    one = np.ones(len(stamps))
    ready.open().workspace.write("depth_history", {"timestamp": stamps, "bid_btc": one, "ask_btc": one, "spread": one})
    seen = []

    def look(run: Run, quiet: bool) -> None:
        seen.append(run.workspace.read("depth_history")["timestamp"])
        no_further()

    with pytest.raises(PipelineError):
        walk(ready, look)
    assert seen[0].tolist() == stamps[: TRAINING + TESTING].tolist()


def test_the_users_own_features_travel_with_the_fold(ready: Desk) -> None:
    own_feature(ready, "market['close']")
    seen = []

    def look(run: Run, quiet: bool) -> None:
        seen.append(Path(run.settings.data.own_features))
        assert seen[0].read_bytes() == (ready.root / "own.py").read_bytes()
        no_further()

    with pytest.raises(PipelineError):
        walk(ready, look)
    registry.use_own(())
    assert ready.workspace in seen[0].parents


@given(st.integers(4, 20), st.integers(1, 9), st.integers(0, 30_000), st.integers(1, 240), st.integers(0, 500))
def test_windows_adjoin_and_a_gap_keeps_training_from_testing(
    train_days: int, test_days: int, more: int, horizon: int, embargo: int
) -> None:
    settings = load_settings(
        None,
        {
            "walk_forward": {"train_days": train_days, "test_days": test_days},
            "labels": {"horizon": horizon},
            "learning": {"embargo": embargo},
        },
    )
    stamps = np.arange((train_days + test_days) * DAY_MINUTES + more) * MINUTE_MS
    folds = tested.plan({"timestamp": stamps}, {}, b"", settings)
    tests = [fold.asked["timestamp"][fold.asked["timestamp"] >= fold.first] for fold in folds]
    assert np.concatenate(tests).tolist() == stamps[train_days * DAY_MINUTES :].tolist()
    assert all(len(test) == test_days * DAY_MINUTES for test in tests[:-1])
    for k, fold in enumerate(folds):
        assert fold.k == k
        assert fold.learn["timestamp"][-1] + (horizon + embargo + 1) * MINUTE_MS < fold.first
        assert (fold.asked["timestamp"] < fold.first).sum() == CANDLES_KEPT
        assert len(fold.learn["timestamp"]) == fold.settings.data.rows


# The same rows whoever makes them


@pytest.mark.slow
def test_two_processes_make_the_same_folds(ready: Desk, walked_once: Desk) -> None:
    done = ready.call("--walk-forward", "--candles", ready.learn, "--to", last(ready), "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert rows_of(ready) == rows_of(walked_once)
    for line in ("fold 1 of 2: 2024-01-07 to 2024-01-07, ", "fold 2 of 2: 2024-01-08 to 2024-01-08, "):
        assert line in done.stderr
    assert sorted(os.listdir(ready.workspace / "processed/walk_forward")) == [*FOLDS, "recipe.json"]


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a scheduler on loopback with one worker, a process of its own."""
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    paths = {"PYTHONPATH": str(REPOSITORY), **THREADS}
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": paths}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1") as running,
    ):
        yield running.scheduler_address


@pytest.mark.slow
def test_a_cluster_makes_the_same_folds(ready: Desk, walked_once: Desk, cluster: str) -> None:
    done = ready.call("--walk-forward", "--candles", ready.learn, "--to", last(ready), "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    assert rows_of(ready) == rows_of(walked_once)


@pytest.mark.slow
def test_a_fold_that_fails_on_a_cluster_is_told_as_at_home(ready: Desk, cluster: str) -> None:
    own_feature(ready, "1 / 0")
    flags = ("--walk-forward", "--candles", ready.learn, "--to", last(ready), "--quiet")
    for how in (("--cluster", cluster), ("--jobs", 2)):
        told = one_error(ready.call(*flags, *how))
        assert re.match(r"error: fold [12], tested 2024-01-0[78] to 2024-01-0[78]: ", told)
        assert told.endswith("own_feature failed: ZeroDivisionError: division by zero\n")


@pytest.mark.slow
def test_a_worker_with_other_code_makes_no_fold(ready: Desk, cluster: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "modules", copy / "modules")
    for name in ("run_pipeline.py", "config.toml"):
        shutil.copy(REPOSITORY / name, copy)
    with (copy / "modules/m2_regime/model.py").open("a") as file:
        file.write("# changed\n")
    command = [sys.executable, copy / "run_pipeline.py", "--walk-forward", "--candles", ready.learn, "--cluster", cluster]
    command += ["--workspace", ready.workspace, "--config", ready.config, "--quiet"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=copy)
    assert re.fullmatch(r"error: --cluster \S+: \S+ runs other code than this folder; start it with the same\n", done.stderr)
    assert done.returncode == 1


# It goes on where it was stopped


def test_only_folds_that_are_missing_are_made(walked: Desk, capsys: pytest.CaptureFixture) -> None:
    before = rows_of(walked)
    assert list(before) == list(FOLDS)
    (walked.workspace / "processed/walk_forward/fold_0.csv").unlink()
    again = Watched(no_further)
    with pytest.raises(PipelineError, match=r"^fold 1, "):
        walk(walked, again, quiet=False)
    assert [learned["timestamp"][0] for learned in again.learned] == [read_candles(walked.learn)[0]["timestamp"][0]]
    assert rows_of(walked) == {"fold_1.csv": before["fold_1.csv"]}
    assert "walk-forward: 2 folds, 1 of them finished before" in capsys.readouterr().err


def test_ctrl_c_keeps_the_finished_folds_and_no_other(walked: Desk) -> None:
    before = rows_of(walked)
    (walked.workspace / "processed/walk_forward/fold_1.csv").unlink()

    def pressed(run: Run, quiet: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(walked, pressed)
    assert rows_of(walked) == {"fold_0.csv": before["fold_0.csv"]}
    assert sorted(os.listdir(walked.workspace / "processed/walk_forward")) == ["fold_0.csv", "recipe.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda desk: desk.config.write_text(desk.config.read_text().replace("rounds = 40", "rounds = 41")),
        lambda desk: desk.learn.write_text(re.sub(r"\n.*\n", "\n", desk.learn.read_text(), count=1)),
        lambda desk: (desk.workspace / tested.RECIPE).write_text('{"0": '),
        lambda desk: (desk.workspace / tested.RECIPE).unlink(),
    ],
    ids=["settings", "candles", "half a recipe", "no recipe"],
)
def test_folds_of_another_recipe_are_deleted_and_it_says_so(
    walked: Desk, change: Callable[[Desk], object], capsys: pytest.CaptureFixture
) -> None:
    change(walked)
    with pytest.raises(PipelineError):
        walk(walked, no_further, quiet=False)
    assert rows_of(walked) == {}
    assert "2 earlier ones of other candles, settings or code are deleted" in capsys.readouterr().err


def test_folds_of_other_code_are_deleted(walked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "code", lambda: "other")
    with pytest.raises(PipelineError):
        walk(walked, no_further)
    assert rows_of(walked) == {}


def test_settings_that_no_row_depends_on_cost_no_fold(walked: Desk) -> None:
    changed = walked.config.read_text().replace("rows = 10000", "rows = 9000")
    walked.config.write_text(changed + "[executor]\ncapital = 77.0\n")
    before = rows_of(walked)
    assert walk(walked, no_further) == 0
    assert rows_of(walked) == before


def test_more_candles_leave_the_folds_that_they_do_not_reach(walked: Desk) -> None:
    before = rows_of(walked)
    with pytest.raises(PipelineError, match="fold 2, tested 2024-01-08 to 2024-01-08: seen"):
        tested.walk_forward(walked.open(walked.learn), no_further, quiet=True)
    assert rows_of(walked) == {"fold_0.csv": before["fold_0.csv"]}


@pytest.mark.slow
def test_ctrl_c_ends_the_processes_at_once_and_the_next_call_goes_on(ready: Desk, walked_once: Desk) -> None:
    flags = ("--walk-forward", "--candles", ready.learn, "--to", last(ready), "--jobs", 2)
    for seconds in (0.0, 0.4, 4.0):
        interrupted(ready, flags, "walk-forward: 2 folds", seconds)
        assert not (ready.workspace / tested.WORK).exists()
    done = ready.call(*flags)
    assert done.returncode == 0, done.stderr
    assert rows_of(ready) == rows_of(walked_once)


KNOWING = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
"""Where the project lies, and this file, which a fold's training may be of."""


@contextmanager
def started(folder: Path, **scheduler: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Address and process of a scheduler that was started in another folder; one worker knows the project."""
    pytest.importorskip("distributed")
    file = folder / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    processes = [
        subprocess.Popen([sys.executable, "-m", "dask", *command, *common], cwd=folder, env={**alone, **more})
        for command, more in (
            (["scheduler", "--host", "127.0.0.1", "--port", "0"], scheduler),
            (["worker", "--no-nanny"], {"PYTHONPATH": KNOWING, **THREADS}),
        )
    ]
    try:
        while not file.exists():
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_scheduler_that_was_started_elsewhere_is_told(ready: Desk, tmp_path: Path) -> None:
    lacks = r"the scheduler or a worker lacks modules; .* PYTHONPATH=. dask scheduler"
    with started(tmp_path) as (address, _), pytest.raises(PipelineError, match=lacks):
        walk(ready, cluster=address)


def slow(run: Run, quiet: bool) -> None:
    time.sleep(120)


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_told(ready: Desk, tmp_path: Path) -> None:
    with started(tmp_path, PYTHONPATH=KNOWING) as (address, scheduler):
        ending = threading.Timer(10, scheduler.kill)
        ending.start()
        with pytest.raises(PipelineError, match="the scheduler is gone; what was finished is kept"):
            walk(ready, slow, cluster=address)


# Errors


def test_it_needs_candles_and_enough_of_them(ready: Desk) -> None:
    with pytest.raises(SettingsError, match="--candles FILE"):
        tested.walk_forward(ready.open(), train)
    few = last(ready) - (TESTING + SECOND) * MINUTE_MS
    with pytest.raises(PipelineError, match=r"8640 candles are too few for one fold, 10080 are needed: 6 days to train on"):
        tested.walk_forward(ready.open(ready.learn), train, end=few, quiet=True)


def test_the_fold_that_cannot_be_trained_is_named(ready: Desk) -> None:
    with pytest.raises(PipelineError, match=r"^fold 1, tested 2024-01-07 to 2024-01-07: seen$"):
        walk(ready, no_further)
    assert os.listdir(ready.workspace / "processed/walk_forward") == []


@pytest.mark.parametrize("flags", [("--train", "--jobs", "2"), ("--cluster", "x"), ("--walk-forward", "--jobs", "0")])
def test_flags_that_make_no_sense_are_refused(ready: Desk, flags: tuple[str, ...]) -> None:
    assert ready.call(*flags).returncode == 2


def test_a_cluster_that_is_none_is_told(ready: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "PATIENCE_S", 0.2)
    with pytest.raises(PipelineError, match="is no address of a Dask scheduler"):
        walk(ready, cluster="nonsense")
    with pytest.raises(PipelineError, match="no Dask scheduler answers there"):
        walk(ready, cluster="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PipelineError, match="--cluster needs Dask: pip install"):
        walk(ready, cluster="tcp://127.0.0.1:9")
