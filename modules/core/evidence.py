"""Reading the rooms that run beside one another (whale, sentiment, …) as numbers, live and in training alike."""

import numpy as np

from modules.core.catalog import CHOICE, EVIDENCE, TABLES, Evidence
from modules.core.tables import Columns, Workspace
from modules.core.words import MINUTE_MS, OK


def names() -> list[str]:
    """The evidence's columns as the models see them: numbers as they are, a word as one column for each choice but none."""
    return [name for evidence in EVIDENCE for name in _encoded_names(evidence)]


def at(workspace: Workspace, timestamp: int) -> Columns:
    """What the evidence rooms said of one candle, as a table of one row; neutral where a room is off, fell back or has
    no such row."""
    said: Columns = {}
    for evidence in EVIDENCE:
        said.update(neutral(evidence, 1))
        if not workspace.exists(evidence.table):
            continue
        newest = workspace.newest(evidence.table) or 0
        rows = workspace.read(evidence.table, last=max(1, (newest - timestamp) // MINUTE_MS + 1))
        found = np.flatnonzero((rows["timestamp"] == timestamp) & (rows["status"] == OK))
        if len(found):
            said.update({key: rows[key][found[-1] :][:1] for key in evidence.neutral})
    return said


def neutral(evidence: Evidence, rows: int) -> Columns:
    """What "no evidence" reads like, (rows,) columns."""
    return {
        key: np.full(rows, value, dtype=object if isinstance(value, str) else float) for key, value in evidence.neutral.items()
    }


def history(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """What they said of each of (N,) candles, ``lag`` candles before it; neutral where there is no history."""
    return _said(workspace, {e.table: TABLES[e.table].history for e in EVIDENCE}, timestamps - lag * MINUTE_MS)


def live(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """The same from the live tables, as far as they reach back; neutral too where a room was off or fell back."""
    return _said(workspace, {e.table: e.table for e in EVIDENCE}, timestamps - lag * MINUTE_MS)


def recorded(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """The same from the histories and, behind the end of each, from its live table."""
    said, after = history(workspace, timestamps, lag), live(workspace, timestamps, lag)
    wanted = timestamps - lag * MINUTE_MS
    for evidence in EVIDENCE:
        ended = wanted > _end(workspace, evidence)
        said |= {key: np.where(ended, after[key], said[key]) for key in evidence.neutral}
    return said


def unrecorded(workspace: Workspace, timestamps: np.ndarray) -> dict[str, int]:
    """History table -> how many of (N,) candles neither it nor the live table behind its end tells of."""
    missing = {}
    for evidence in EVIDENCE:
        ended = timestamps[timestamps > _end(workspace, evidence)]
        told = workspace.read(evidence.table)["timestamp"] if workspace.exists(evidence.table) else ended[:0]
        if unknown := int((~np.isin(ended, told)).sum()):
            missing[str(TABLES[evidence.table].history)] = unknown
    return missing


def _end(workspace: Workspace, evidence: Evidence) -> float:
    """Stamp of the newest row of a history; beyond any other where there is none, for then the room is off."""
    table = str(TABLES[evidence.table].history)
    return (workspace.newest(table) or 0) if workspace.exists(table) else np.inf


def _said(workspace: Workspace, tables: dict[str, str], wanted: np.ndarray) -> Columns:
    said: Columns = {}
    for evidence in EVIDENCE:
        table = tables[evidence.table]
        rows = workspace.read(table) if workspace.exists(table) else None
        for key, values in neutral(evidence, len(wanted)).items():
            if rows is not None and len(rows["timestamp"]):
                position = np.clip(np.searchsorted(rows["timestamp"], wanted), 0, len(rows["timestamp"]) - 1)
                found = rows["timestamp"][position] == wanted
                if "status" in rows:
                    found &= rows["status"][position] == OK
                values[found] = rows[key][position[found]]
            said[key] = values
    return said


def encode(said: Columns) -> np.ndarray:
    """(N, evidence columns) numbers, in the order of ``names``."""
    columns = []
    for evidence in EVIDENCE:
        choices = _choices(evidence)
        for key in evidence.neutral:
            if key in choices:
                columns += [(said[key] == choice).astype(float) for choice in choices[key]]
            else:
                columns.append(said[key])
    return np.stack(columns, 1)


def whale_sign(impact: np.ndarray) -> np.ndarray:
    """(N,) +1 where the impact is buy_pressure, -1 where sell_pressure, 0 where none."""
    return (impact == "buy_pressure").astype(float) - (impact == "sell_pressure").astype(float)


def _choices(evidence: Evidence) -> dict[str, list[str]]:
    columns = TABLES[evidence.table].columns
    return {c.name: [word for word in c.choices if word != "none"] for c in columns if c.kind == CHOICE}


def _encoded_names(evidence: Evidence) -> list[str]:
    choices = _choices(evidence)
    names = [
        name for key in evidence.neutral for name in ([f"{key}_{word}" for word in choices[key]] if key in choices else [key])
    ]
    return [f"{evidence.table}_{name}" for name in names]
