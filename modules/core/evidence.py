"""Reading the rooms that run beside one another (whale, sentiment, …) as numbers, live and in training alike."""

import numpy as np

from modules.core.catalog import CHOICE, EVIDENCE, TABLES, Evidence
from modules.core.tables import Columns, Workspace
from modules.core.words import MINUTE_MS, OK


def names() -> list[str]:
    """The evidence's columns as the models see them: numbers as they are, a word as one column for each choice but none."""
    return [name for evidence in EVIDENCE for name in _encoded_names(evidence)]


def at(workspace: Workspace, timestamp: int) -> Columns:
    """What the evidence rooms said of one candle, as a table of one row; see ``live``."""
    return live(workspace, np.array([timestamp]), lag=0)


def neutral(evidence: Evidence, rows: int) -> Columns:
    """What "no evidence" reads like, (rows,) columns."""
    return {
        key: np.full(rows, value, dtype=object if isinstance(value, str) else float) for key, value in evidence.neutral.items()
    }


def history(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """What they said of each of (N,) candles, ``lag`` candles before it, by their histories; neutral where there is none."""
    wanted, said = timestamps - lag * MINUTE_MS, Columns()
    for evidence in EVIDENCE:
        said |= _taken(evidence, _newest_from(workspace, _history_of(evidence), wanted), wanted)
    return said


def live(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """The same from the live tables and, before the first row of each, from its history; neutral too where a room was off
    or fell back.

    Parameters
    ----------
    timestamps : (N,) Unix ms, ascending
    """
    wanted, said = timestamps - lag * MINUTE_MS, Columns()
    for evidence in EVIDENCE:
        rows = _newest_from(workspace, evidence.table, wanted)
        taken = _taken(evidence, rows, wanted)
        before = wanted < (rows["timestamp"][0] if rows is not None else np.inf)
        if before.any():
            past = _taken(evidence, _newest_from(workspace, _history_of(evidence), wanted), wanted)
            taken = {key: np.where(before, past[key], taken[key]) for key in taken}
        said |= taken
    return said


def recorded(workspace: Workspace, timestamps: np.ndarray, lag: int) -> Columns:
    """The same from the histories, as training saw them, and behind the end of each from its live table."""
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
            missing[_history_of(evidence)] = unknown
    return missing


def _history_of(evidence: Evidence) -> str:
    return str(TABLES[evidence.table].history)


def _end(workspace: Workspace, evidence: Evidence) -> float:
    """Stamp of the newest row of a history; beyond any other where there is none, for then the room is off."""
    table = _history_of(evidence)
    return (workspace.newest(table) or 0) if workspace.exists(table) else np.inf


def _newest_from(workspace: Workspace, table: str, wanted: np.ndarray) -> Columns | None:
    """The rows of a table from the first of the wanted stamps on, and perhaps some before; None where there is none."""
    newest = workspace.newest(table)
    if newest is None or not len(wanted) or newest < wanted[0]:
        return None
    return workspace.read(table, last=(newest - int(wanted[0])) // MINUTE_MS + 1)


def _taken(evidence: Evidence, rows: Columns | None, wanted: np.ndarray) -> Columns:
    """The evidence's columns at (N,) stamps; neutral where a row is missing or says that it is not to be believed."""
    taken = neutral(evidence, len(wanted))
    if rows is not None:
        position = np.clip(np.searchsorted(rows["timestamp"], wanted), 0, len(rows["timestamp"]) - 1)
        found = rows["timestamp"][position] == wanted
        if "status" in rows:
            found &= rows["status"][position] == OK
        for key, values in taken.items():
            values[found] = rows[key][position[found]]
    return taken


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
