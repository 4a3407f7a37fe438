"""The log of tries: every strategy that was ever evaluated here. Who tries a hundred things finds one that looks good, so
the deflated Sharpe ratio must know how many there were."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modules.core import clock
from modules.core.catalog import TABLES
from modules.core.errors import TableError
from modules.core.module import REPOSITORY
from modules.core.tables import Columns, Workspace, from_rows

RESEARCH = REPOSITORY / "docs" / "tries.csv"
"""What was tried to make the pipeline what it is; it comes with the program."""
RESEARCH_COLUMNS = ["date", "what", "where chosen", "result", "kept"]


@dataclass(frozen=True)
class Try:
    """A strategy that was evaluated: ``what`` backtest or walk_forward, ``key`` by ``key``, its Sharpe ratio of daily net
    returns, not annualised (NaN where there is none), and the days and trades behind it."""

    what: str
    strategy: str
    key: str
    sharpe: float
    days: int
    trades: int


@dataclass(frozen=True)
class Tried:
    """How many strategies were tried, 1 at least, and the sample variance of the daily Sharpe ratios of those of this
    workspace; NaN below two of them."""

    count: int
    variance: float


def key(*parts: Any) -> str:
    """SHA-256 of everything that an evaluation depends on: settings, hashes of models, first and last candle; whatever
    JSON can hold, in this order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def record(workspace: Workspace, tries: Sequence[Try]) -> None:
    """Put tries at the end of ``performance/tries.csv``. One whose key is there already is no new try; no row is ever
    changed or taken out.

    Raises
    ------
    TableError : the log that is there cannot be read; nothing is written then
    """
    old = _log(workspace)
    known, fresh = set(old["key"]), []
    for its in tries:
        if its.key not in known:
            known.add(its.key)
            fresh.append((clock.now_ms(), *astuple(its)))
    if fresh:
        new = from_rows(TABLES["tries"].columns, fresh)
        columns = {name: np.append(values, new[name]) for name, values in old.items()}
        workspace.write("tries", columns)


def tried(workspace: Workspace, research: Path = RESEARCH) -> Tried:
    """All tries that made a trade, and those of the research: a strategy at hand was chosen from both.

    Raises
    ------
    TableError : the log, or the list of the research, cannot be read: with fewer tries a result would look better
    """
    log = _log(workspace)
    _, first = np.unique(log["key"].astype(str), return_index=True)
    traded = first[log["trades"][first] > 0]
    ratios = log["sharpe"][traded]
    ratios = ratios[np.isfinite(ratios)]
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else np.nan
    return Tried(max(1, len(traded) + _researched(research)), variance)


def _log(workspace: Workspace) -> Columns:
    if workspace.exists("tries"):
        return workspace.read("tries")
    return from_rows(TABLES["tries"].columns, [])


def _researched(path: Path) -> int:
    """The rows of the list of the research."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(path, [f"cannot be read ({error}); it comes with the program: put it back"]) from error
    faults = [] if header == RESEARCH_COLUMNS else [f"its columns must be {', '.join(RESEARCH_COLUMNS)}"]
    faults += [f"row {at}: {len(row)} cells, not {len(header)}" for at, row in enumerate(rows, 2) if len(row) != len(header)]
    if faults:
        raise TableError(path, faults)
    return len(rows)
