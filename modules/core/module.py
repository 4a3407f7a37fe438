"""What every numbered room looks like from outside: a trainer, a predictor, and how each is run."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from modules.core import clock, telemetry
from modules.core.artifacts import Artifacts
from modules.core.errors import InputNotReady, NotTrainedError, PipelineError
from modules.core.settings import Settings, load_settings
from modules.core.tables import Columns, Workspace, datetime_ist

REPOSITORY = Path(__file__).parents[2]


class Source(Protocol):
    """Where module 1 gets its rows: the exchange, or a file that is replayed."""

    def candles(self, after_ms: int | None, upto_ms: int, count: int) -> Columns:
        """Closed candles, oldest first: those after ``after_ms`` (or the newest ``count``) up to ``upto_ms``, inclusive."""
        ...

    def extra(self, name: str, after_ms: int | None, upto_ms: int, count: int) -> Columns | None:
        """The same of an optional table (see ``catalog.EXTRAS``); None where the source has no such table."""
        ...


@dataclass
class Run:
    """What a trainer or predictor is given: the tables, the models, the settings and, for module 1, its source."""

    workspace: Workspace
    settings: Settings
    artifacts: Artifacts
    source: Source | None = None
    candles: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, workspace: Path, settings: Settings, source: Source | None = None, candles: Path | None = None) -> "Run":
        tables = Workspace(workspace)
        return cls(tables, settings, Artifacts(tables), source, candles)


class Predictor(Protocol):
    """A room's ``predictor.py``: a module with these names."""

    TABLES: tuple[str, ...]

    def predict(self, run: Run, timestamp: int) -> dict[str, Columns]:
        """The rows of this candle, by table."""
        ...

    def fallback(self, run: Run, timestamp: int, why: str) -> dict[str, Columns]:
        """The declared rows for a candle on which ``predict`` failed; their status says why."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How one predictor fared on one candle."""

    room: str
    status: str
    milliseconds: float

    @property
    def fell_back(self) -> bool:
        return self.status.startswith("fallback")


def one_row(timestamp: int, **values: Any) -> Columns:
    """A table of one row."""
    row: Columns = {"timestamp": np.array([timestamp], np.int64)}
    for name, value in values.items():
        row[name] = np.array([value], dtype=object if isinstance(value, str) else None)
    return row


def row_at(columns: Columns, timestamp: int, what: str) -> Columns:
    """The row of a candle, as a table of one row.

    Raises
    ------
    InputNotReady : the row is absent, or its status is a fallback
    """
    stamps = columns["timestamp"]
    at = int(np.searchsorted(stamps, timestamp))
    if at >= len(stamps) or stamps[at] != timestamp:
        raise InputNotReady(f"{what} has no row for {datetime_ist(timestamp)} IST")
    if "status" in columns and columns["status"][at].startswith("fallback"):
        raise InputNotReady(f"{what} fell back")
    return {name: values[at : at + 1] for name, values in columns.items()}


def run_predictor(predictor: Any, run: Run, timestamp: int) -> Outcome:
    """Run a room on one candle and write its rows; where it fails, write its fallback and go on."""
    room = predictor.__name__.split(".")[-2]
    started = time.perf_counter()
    failed = ""
    try:
        rows = predictor.predict(run, timestamp)
        _append(run, rows)
    except NotTrainedError:
        raise
    except Exception as error:  # law 7: whatever fails, the cycle goes on with the declared fallback
        expected = isinstance(error, PipelineError)
        why = " ".join(str(error if expected else f"{type(error).__name__}: {error}").split())
        why = why.replace(f"{run.workspace.root}/", "")  # the same minute gives the same row wherever the workspace lies
        telemetry.log(run.workspace.root, f"{room} fell back at {timestamp}: {why}", None if expected else error)
        failed = f"fallback: {why}"[:300]
        rows = predictor.fallback(run, timestamp, failed)
        _append(run, rows)
    status = next((str(columns["status"][-1]) for columns in rows.values() if "status" in columns), "fallback: no row")
    return Outcome(room, failed or status, (time.perf_counter() - started) * 1e3)


def _append(run: Run, rows: dict[str, Columns]) -> None:
    for table, columns in rows.items():
        run.workspace.append(table, columns)


def predictor_main(predictor: ModuleType, feed: Callable[[Settings], Source] | None = None) -> int:
    """``python -m modules.<room>.predictor``: this room alone, on the newest candle on disk; one that is given a feed
    fetches the newest closed candle itself."""
    options = _options(f"Run {predictor.__spec__.parent if predictor.__spec__ else ''} on the newest candle.")

    def work() -> int:
        run = Run.open(options.workspace, load_settings(options.config))
        with run.workspace.held():
            timestamp = run.workspace.newest("candles_live")
            if feed is not None:
                run.source, timestamp = feed(run.settings), clock.newest_closed_ms()
            if timestamp is None:
                raise InputNotReady(f"{run.workspace.path('candles_live')} has no row yet: run module 1 first")
            module = sys.modules["__main__"]
            outcome = run_predictor(_Named(module), run, timestamp)
        print(f"{outcome.room}: {outcome.status} for {datetime_ist(timestamp)} IST in {outcome.milliseconds:.1f} ms")
        return 3 if outcome.fell_back else 0

    return guarded(work)


class _Named:
    """A module run as ``__main__`` under its real name."""

    def __init__(self, module: ModuleType):
        self.__name__ = module.__spec__.name if module.__spec__ else module.__name__
        self.predict, self.fallback = module.predict, module.fallback


def trainer_main(trainer: ModuleType) -> int:
    """``python -m modules.<room>.trainer``: train this room alone from the tables on disk."""
    options = _options("Train this room alone from the tables on disk.", candles=True)

    def work() -> int:
        run = Run.open(options.workspace, load_settings(options.config), candles=options.candles)
        with run.workspace.held(), telemetry.Progress() as progress:
            lines = trainer.train(run, progress)
        print("\n".join(lines))
        return 0

    return guarded(work)


def guarded(work: Callable[[], int], verbose: bool = False) -> int:
    """Run the work of a command; an error of ours becomes one message and exit code 1, Ctrl-C becomes 130."""
    try:
        return work()
    except PipelineError as error:
        if verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if verbose:
            traceback.print_exc()
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; what was finished is on disk and nothing is half-written", file=sys.stderr)
        return 130


def _options(description: str, candles: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--workspace", type=Path, default=REPOSITORY, help="folder of the tables and models")
    parser.add_argument("--config", type=Path, help="a TOML file that overrides config.toml")
    if candles:
        parser.add_argument("--candles", type=Path, help="candle file to learn from (module 1)")
    return parser.parse_args()
