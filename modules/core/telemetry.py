"""What the pipeline says while it works: a log file for later, a progress bar for now."""

import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

LOG = "logs/pipeline.log"
LOG_LIMIT = 5_000_000
"""Bytes at which the log moves to ``pipeline.log.1``, over the one before it."""


def log(root: Path, message: str, error: BaseException | None = None) -> None:
    """Add a line to the workspace's log; an error's traceback follows it. A log that cannot be written is no reason to
    stop trading, so a full or read-only disk is passed over here (the tables themselves will say so)."""
    path = root / LOG
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{stamp} {message}\n"
    if error is not None:
        text += "".join(traceback.format_exception(error))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return


class Progress:
    """A bar for each long step: drawn on a terminal, a line at its start and end elsewhere, nothing where quiet."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self._bars: Any = None
        self._task: Any = None
        self._step = ""
        self._started = 0.0

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description:52}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            self._bars = Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self._bars.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.__exit__(kind, error, trace)

    def step(self, what: str, total: int = 1) -> None:
        """Begin a step of ``total`` equal parts."""
        self._step, self._started = what, time.perf_counter()
        if self._bars:
            self._task = self._bars.add_task(what, total=total)
        elif not self.quiet:
            print(f"{what} ...", file=sys.stderr, flush=True)

    def advance(self, parts: int = 1, said: str = "") -> None:
        """Some parts are done; ``said`` is a line about them, for where no bar can be drawn."""
        if self._bars:
            self._bars.advance(self._task, parts)
        elif said and not self.quiet:
            print(said, file=sys.stderr, flush=True)

    def done(self) -> None:
        """End the step."""
        if self._bars:
            self._bars.update(self._task, completed=self._bars.tasks[self._task].total)
        elif not self.quiet:
            print(f"{self._step}: {time.perf_counter() - self._started:.1f} s", file=sys.stderr, flush=True)
