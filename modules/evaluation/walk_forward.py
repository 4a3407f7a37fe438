"""Walk-forward: train on a window of days, ask the models about the days after it, roll on by those days."""

import hashlib
import json
import re
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from modules.core import catalog
from modules.core.errors import PipelineError, SettingsError
from modules.core.module import Run
from modules.core.settings import Settings
from modules.core.tables import Columns, Workspace, write_atomically
from modules.core.telemetry import Progress
from modules.core.words import DAY_MINUTES, MINUTE_MS
from modules.evaluation.measure import conclude
from modules.evaluation.testimony import testimony
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.trainer import own_source

RECIPE, WORK, OWN = "processed/walk_forward/recipe.json", "processed/walk_forward/work", "own_features.py"
TAIL = 0.05
"""[data] out_of_sample of a fold, the least that the settings allow: the test window plays that part here."""
WITHOUT = ("exchange", "whale", "sentiment", "executor")
"""Sections of the settings that change no row of a fold."""
PATIENCE_S = 10
"""Seconds that a cluster has to answer."""


@dataclass(frozen=True)
class Fold:
    """All that a fold is made from, so that it can be made anywhere.

    Parameters
    ----------
    settings : those that its rooms train with
    learn : the candles of its training window but for the newest: a label horizon and an embargo lie before ``first``
    asked : the candles of its test window, and before them what warms the features up
    extras : optional tables by name, none of their rows later than the test window
    own : source of the user's own features, empty where there are none
    first : stamp of the first candle tested, Unix ms
    """

    k: int
    settings: Settings
    learn: Columns
    asked: Columns
    extras: dict[str, Columns]
    own: bytes
    first: int

    @property
    def days(self) -> str:
        """The test window in words, UTC."""
        ends = (datetime.fromtimestamp(stamp / 1000, UTC) for stamp in (self.first, int(self.asked["timestamp"][-1])))
        return " to ".join(f"{end:%Y-%m-%d}" for end in ends)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that its rows depend on, but for the libraries."""
        sections = {name: values for name, values in asdict(self.settings).items() if name not in WITHOUT}
        digest = hashlib.sha256(json.dumps([code(), sections, self.first], sort_keys=True).encode() + self.own)
        for table, rows in {"learn": self.learn, "asked": self.asked, **self.extras}.items():
            for name, values in rows.items():
                digest.update(f"{table} {name} {values.dtype} {len(values)}".encode())
                digest.update(values.tobytes())
        return digest.hexdigest()


@cache
def code() -> str:
    """SHA-256 of the source of all rooms, as this process first saw it."""
    rooms, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(rooms.rglob("*.py")):
        digest.update(f"{path.relative_to(rooms).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def walk_forward(
    run: Run,
    train: Callable[..., object],
    start: int | None = None,
    end: int | None = None,
    jobs: int = 1,
    cluster: str = "",
    quiet: bool = False,
) -> int:
    """Make every fold of the candle file that is not on disk yet, each as ``processed/walk_forward/fold_{k}.csv``, and
    measure all of them together.

    Ctrl-C loses the folds at work and no other: the next call goes on with the rest.

    Parameters
    ----------
    train : trains all rooms in a workspace that holds candles; called with its run and ``quiet=True``
    start, end : stamps of the first and the last candle that is used, Unix ms
    jobs : folds made at a time, each in a process of its own
    cluster : address of a Dask scheduler whose workers make the folds instead

    Raises
    ------
    SettingsError : there is no candle file
    PipelineError : too few candles for one fold; a fold that cannot be trained, by its number; no such cluster, or one
        that runs other code
    """
    if run.candles is None:
        raise SettingsError("--walk-forward needs a candle file: --candles FILE")
    with run.workspace.held(), Progress(quiet) as progress:
        progress.step(f"walk-forward: reading {run.candles.name}")
        candles, repairs = read_candles(run.candles, run.settings.data.max_gap_minutes)
        used = (candles["timestamp"] >= (start or 0)) & (candles["timestamp"] <= (end or candles["timestamp"][-1]))
        given = {name: values[used] for name, values in candles.items()}
        folds = plan(given, _extras(run.workspace), own_source(run), run.settings)
        recipes = {str(fold.k): fold.fingerprint for fold in folds}
        finished, others = _finished(run.workspace, recipes)
        progress.done()
        before = f", {len(finished)} of them finished before" if finished else ""
        gone = f"; {others} earlier ones of other candles, settings or code are deleted" if others else ""
        progress.step(f"walk-forward: {len(folds)} folds{before}{gone}", len(folds))
        progress.advance(len(finished))
        missing = [fold for fold in folds if str(fold.k) not in finished]
        made = _made_on_cluster(missing, train, cluster) if cluster else _made(missing, train, run.workspace.root / WORK, jobs)
        for k, rows, seconds in made:
            run.workspace.write("walk_forward_fold", rows, k)
            finished[str(k)] = recipes[str(k)]
            write_atomically(run.workspace.root / RECIPE, json.dumps(finished, indent=1).encode())
            progress.advance(said=f"fold {k + 1} of {len(folds)}: {folds[k].days}, {seconds:.0f} s")
        progress.done()
        parts = [run.workspace.read("walk_forward_fold", fold.k) for fold in folds]
        progress.step("what all of it was worth")
        said = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        told = conclude(run, said, "walk_forward")
        progress.done()
    if not quiet:
        for repair in repairs:
            print(f"repaired: {repair}")
        print(f"{len(said['timestamp'])} candles tested; all rows: {run.workspace.path('walk_forward_fold', 0).parent}")
        unheard = [name for name in ("historical_transactions", "news_history") if run.workspace.exists(name)]
        if unheard:
            paths = ", ".join(str(run.workspace.path(name)) for name in unheard)
            print(f"whales and sentiment are off in a walk-forward: {paths} had no part in it")
        print("\n".join(told))
    return 0


def plan(candles: Columns, extras: dict[str, Columns], own: bytes, settings: Settings) -> list[Fold]:
    """The folds over candles without a gap. Their test windows adjoin; the last one may be shorter.

    Parameters
    ----------
    extras, own : as in ``Fold``, the tables' rows of any time

    Raises
    ------
    PipelineError : too few candles for one training and one test window
    """
    stamps, days = candles["timestamp"], settings.walk_forward
    training, testing = days.train_days * DAY_MINUTES, days.test_days * DAY_MINUTES
    if len(stamps) < training + testing:
        raise PipelineError(
            f"{len(stamps)} candles are too few for one fold, {training + testing} are needed: {days.train_days} days to train"
            f" on and {days.test_days} to test on; give more candles, or fewer days in [walk_forward]"
        )
    gap = settings.labels.horizon + 1 + settings.learning.embargo
    rows = training - gap
    data = replace(settings.data, rows=rows, chunk_rows=rows // 4, out_of_sample=TAIL, own_features=OWN if own else "")
    folds = []
    for k, begin in enumerate(range(0, len(stamps) - training, testing)):
        first = begin + training
        learn, asked = slice(begin, begin + rows), slice(first - catalog.CANDLES_KEPT, first + testing)
        around = stamps[begin] - DAY_MINUTES * MINUTE_MS, stamps[asked][-1]
        folds.append(
            Fold(
                k,
                replace(settings, data=data),
                {name: values[learn] for name, values in candles.items()},
                {name: values[asked] for name, values in candles.items()},
                {name: _between(table, *around) for name, table in extras.items()},
                own,
                int(stamps[first]),
            )
        )
    return folds


def make(fold: Fold, train: Callable[..., object], folder: Path | None = None) -> tuple[int, Columns, float]:
    """Train a fold in a workspace of its own, which is gone afterwards, and ask its models about the test window.

    Parameters
    ----------
    folder : where that workspace is made; None: where the system keeps temporary files

    Returns
    -------
    number of the fold; (N,) columns of ``catalog.SAID`` of its N tested candles; seconds
    """
    began = time.perf_counter()
    with TemporaryDirectory(dir=folder) as place:
        own = Path(place) / OWN
        data = replace(fold.settings.data, own_features=str(own) if fold.own else "")
        run = Run.open(Path(place), replace(fold.settings, data=data))
        try:
            own.write_bytes(fold.own)
            run.workspace.write("candles_history", fold.learn)
            for name, rows in fold.extras.items():
                run.workspace.write(f"{name}_history", rows)
            train(run, quiet=True)
            said = testimony(run, fold.asked)
        except PipelineError as error:  # most kinds of it do not survive the way to another process
            raise PipelineError(f"fold {fold.k + 1}, tested {fold.days}: {error}") from None
    tested = said["timestamp"] >= fold.first
    return fold.k, {name: values[tested] for name, values in said.items()}, time.perf_counter() - began


def _made(folds: list[Fold], train: Callable[..., object], work: Path, jobs: int) -> Iterator[tuple[int, Columns, float]]:
    """Every fold as it is finished, by ``jobs`` processes of this machine."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.backend import resource_tracker as loky_tracker
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    work.mkdir(parents=True)
    try:
        with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, max_nbytes=None):
            parallel = Parallel(batch_size=1, return_as="generator_unordered")
            with ExitStack() as ending:
                ending.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", "[0-9]+ tasks which")  # were stopped: that is what Ctrl-C is for
                for tracker in (loky_tracker, resource_tracker):
                    tracker.ensure_running()  # begun later it would end the deafness at once
                with _deaf():
                    finished = ending.enter_context(closing(parallel(delayed(make)(fold, train, work) for fold in folds)))
                yield from finished
    except TerminatedWorkerError as error:
        raise PipelineError("a fold's process was killed, perhaps for want of memory: try fewer --jobs") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin here never hear Ctrl-C. This one hears it a moment later, and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _made_on_cluster(folds: list[Fold], train: Callable[..., object], address: str) -> Iterator[tuple[int, Columns, float]]:
    """Every fold as it is finished, by the workers of a Dask scheduler. joblib's own way to Dask is of no use here: where
    there is one worker it stays at home."""
    try:
        from distributed import CancelledError, Client, as_completed
    except ImportError:
        raise PipelineError(
            "--cluster needs Dask: pip install dask distributed (requirements-dev.txt has the versions)"
        ) from None
    if not re.fullmatch(r"\w+://.+:\d+", address):  # told here, for a client that never was is closed with a noise
        raise PipelineError(f"--cluster {address}: is no address of a Dask scheduler, such as tcp://127.0.0.1:8786")
    try:
        client = Client(address, timeout=PATIENCE_S)
    except (OSError, ValueError) as error:
        raise PipelineError(f"--cluster {address}: no Dask scheduler answers there ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
            for ask in (client.run_on_scheduler, client.run):  # the scheduler too unpacks what it hands on
                ask(exec, f"import {__name__}")
            others = [worker for worker, its in client.run(code).items() if its != code()]
            if others:
                raise PipelineError(
                    f"--cluster {address}: {', '.join(others)} runs other code than this folder; start it with the same"
                )
        except TimeoutError:
            raise PipelineError(f"--cluster {address}: the scheduler has no worker") from None
        except ImportError as error:
            raise PipelineError(
                f"--cluster {address}: the scheduler or a worker lacks {error.name}; start both in this folder:"
                f" PYTHONPATH=. dask scheduler, PYTHONPATH=. dask worker {address}"
            ) from None
        waiting = iter(folds)

        def handed_over(count: int) -> list[Any]:
            return [client.submit(make, client.scatter(fold, hash=False), train, pure=False) for fold in islice(waiting, count)]

        finished = as_completed(handed_over(2 * sum(client.nthreads().values())), raise_errors=False)
        for future in finished:
            failure = future.exception()
            if failure is not None and not isinstance(failure, PipelineError):
                raise PipelineError(f"--cluster {address}: a worker failed: {type(failure).__name__}: {failure}")
            try:
                made = future.result()
            except CancelledError:
                raise PipelineError(
                    f"--cluster {address}: the scheduler is gone; what was finished is kept, call again for the rest"
                ) from None
            yield made
            finished.update(handed_over(1))


def _finished(workspace: Workspace, recipes: dict[str, str]) -> tuple[dict[str, str], int]:
    """The folds on disk that were made by the same recipe, by number; of the others, which are deleted, how many."""
    try:
        there = dict(json.loads((workspace.root / RECIPE).read_bytes()))
    except (OSError, TypeError, ValueError):
        there = {}
    kept = {
        k: recipe for k, recipe in recipes.items() if there.get(k) == recipe and workspace.exists("walk_forward_fold", int(k))
    }
    keep = {workspace.path("walk_forward_fold", int(k)) for k in kept}
    others = [path for path in workspace.path("walk_forward_fold", 0).parent.glob("fold_*.csv") if path not in keep]
    for path in others:
        path.unlink()
    return kept, len(others)


def _extras(workspace: Workspace) -> dict[str, Columns]:
    names = [name for name in catalog.EXTRAS if workspace.exists(f"{name}_history")]
    return {name: workspace.read(f"{name}_history") for name in names}


def _between(rows: Columns, first: int, last: int) -> Columns:
    """The rows from one stamp to another, both included."""
    stamps = rows["timestamp"]
    part = slice(*np.searchsorted(stamps, [first, last + 1]))
    return {name: values[part] for name, values in rows.items()}
