"""Train = serve: the rows that the live predictors make one candle at a time are the rows of the batch."""

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from modules.core import catalog
from modules.core.catalog import EVIDENCE, TABLES
from modules.core.errors import InputNotReady
from modules.core.module import Run
from modules.core.tables import Columns, Workspace
from modules.core.telemetry import Progress
from modules.core.words import OK
from modules.evaluation.batch import live_tables
from modules.evaluation.findings import FAIL, NOTE, PASS, Finding
from modules.m1_data_engine import predictor as m1
from modules.m1_data_engine.trainer import history_extras
from modules.m2_regime import predictor as m2
from modules.m3_specialist import predictor as m3
from modules.m5_meta_fusion import predictor as m5

PARITY = "train = serve"
STRETCHES, CANDLES = 4, 60
ROOMS = (m1, m2, m3, m5)
TOLERANCE = {"live_features": 1e-9}
"""Relative above 1, else absolute. A room reads the tables of the one before it, which keep ten decimals."""
ELSE = 1e-6


def check_parity(run: Run, candles: Columns, progress: Progress) -> list[Finding]:
    """Stretches all over the candles, each minute decided by the live predictors from a workspace of its own, in which the
    candle that comes next lies already: it has not closed, and nothing may use it."""
    last = len(candles["timestamp"]) - CANDLES - 1
    first = min(catalog.CANDLES_KEPT, last)
    starts = np.unique(np.linspace(first, last, STRETCHES).astype(int))
    progress.step(f"{PARITY}: {len(starts) * CANDLES} candles one at a time", len(starts) * CANDLES)
    gaps: dict[str, float] = defaultdict(float)
    unlike: dict[str, list[str]] = defaultdict(list)
    compared = 0
    for start in starts:
        window = {name: values[max(0, start - catalog.CANDLES_KEPT) : start + CANDLES + 1] for name, values in candles.items()}
        batch = live_tables(run, window, history_extras(run, window["timestamp"]))
        with TemporaryDirectory() as folder:
            live = _desk(run, Path(folder), window)
            for at in range(len(window["timestamp"]) - CANDLES - 1, len(window["timestamp"]) - 1):
                stamp = int(window["timestamp"][at])
                row = int(np.searchsorted(batch["live_features"]["timestamp"], stamp))
                expected = {table: {name: v[row : row + 1] for name, v in columns.items()} for table, columns in batch.items()}
                progress.advance()
                if any(np.isnan(v[0]) for name, v in expected["live_features"].items() if name not in ("depth_btc", "status")):
                    continue  # a table that a feature needs knows nothing here: live falls back
                compared += 1
                live.workspace.append("candles_live", _closed(window, at + 1, at + 2))
                try:
                    served = _minute(live, stamp)
                except InputNotReady as error:
                    unlike["live_features"].append(f"at {stamp} no row: {error}")
                    continue
                for table, columns in expected.items():
                    for name, values in columns.items():
                        _compare(f"{table}.{name}", values[0], served[table][name][-1], stamp, gaps, unlike)
    progress.done()
    found = []
    for table, columns in batch.items():
        for name in columns:
            if name not in ("timestamp", "status"):
                found.append(_told(f"{table}.{name}", gaps, unlike, compared, TOLERANCE.get(table, ELSE)))
    return found


def _desk(run: Run, folder: Path, window: Columns) -> Run:
    """A workspace as it stands before the first candle of the stretch, with the models of this one."""
    live = Run(Workspace(folder), run.settings, run.artifacts)
    start = len(window["timestamp"]) - CANDLES - 1
    live.workspace.append("candles_live", _closed(window, 0, start + 1))
    end = window["timestamp"][-1]
    tables = {f"{name}_live": f"{name}_history" for name in catalog.EXTRAS}
    tables |= {room.table: TABLES[room.table].history for room in EVIDENCE}
    for table, history in tables.items():
        if run.workspace.exists(history):
            rows = run.workspace.read(history)
            upto = int(np.searchsorted(rows["timestamp"], end, side="right"))
            kept = {name: values[max(0, upto - TABLES[table].keep) : upto] for name, values in rows.items()}
            live.workspace.append(table, kept | {"status": np.full(len(kept["timestamp"]), OK, object)})
    return live


def _closed(window: Columns, start: int, stop: int) -> Columns:
    return {name: values[start:stop] for name, values in window.items()} | {"status": np.full(stop - start, OK, object)}


def _minute(live: Run, stamp: int) -> dict[str, Columns]:
    """All rooms on one candle, as the live cycle runs them but for its fallbacks."""
    served: dict[str, Columns] = {}
    for room in ROOMS:
        rows = room.predict(live, stamp)
        for table, columns in rows.items():
            live.workspace.append(table, columns)
        served |= rows
    return served


def _compare(
    column: str, expected: object, served: object, stamp: int, gaps: dict[str, float], unlike: dict[str, list[str]]
) -> None:
    if isinstance(expected, str):
        if served != expected:
            unlike[column].append(f"at {stamp} {served!r}, in the batch {expected!r}")
        return
    one, other = float(served), float(expected)  # type: ignore[arg-type]
    gap = 0.0 if np.isnan(one) and np.isnan(other) else abs(one - other) / max(1.0, abs(other))
    gap = np.inf if np.isnan(gap) else gap
    gaps[column] = max(gaps[column], gap)
    if gap > TOLERANCE.get(column.split(".")[0], ELSE):
        unlike[column].append(f"at {stamp} {one!r}, in the batch {other!r}")


def _told(column: str, gaps: dict[str, float], unlike: dict[str, list[str]], compared: int, tolerance: float) -> Finding:
    what = f"greatest difference of the live row to the batch, at most {tolerance:g}"
    rows = unlike.get(column, [])
    detail = f"{len(rows)} of {compared} rows differ, first {rows[0]}" if rows else ""
    verdict = FAIL if rows else PASS if compared else NOTE
    return Finding(PARITY, column, verdict, gaps.get(column, np.nan), what, detail, compared)
