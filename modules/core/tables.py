"""Tables on disk: validated on write and on read, replaced whole or not at all.

A table in memory is a dict of equally long numpy arrays, one a column: float64 for numbers, int64 for integers,
object (str) for words and text. Why not pandas: its import alone costs more than the whole live minute.
"""

import csv
import fcntl
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from modules.core.catalog import CHOICE, INTEGER, NUMBER, TABLES, TEXT, Column, Table
from modules.core.errors import PipelineError, TableError, WorkspaceBusyError

Columns = dict[str, np.ndarray]

SLACK = 60
"""A live table grows this far beyond its ``keep`` before its oldest rows move to the archive in one go."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_IST = timedelta(hours=5, minutes=30)


def datetime_ist(timestamp: int) -> str:
    """A stamp in Unix ms as people in India read it: ``2024-04-01 05:30:00``."""
    return (datetime.fromtimestamp(timestamp / 1000, UTC) + _IST).strftime("%Y-%m-%d %H:%M:%S")


def safe_text(text: str) -> str:
    """Text from anywhere as one spreadsheet cell: one line, and never the start of a formula."""
    line = " ".join(text.replace("\x00", "").split("\n")).replace("\r", " ")
    return "'" + line if line.startswith(_FORMULA_STARTS) else line


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file whole: a temporary one in the same folder, synced, then renamed. The parent is made if absent.

    Raises
    ------
    PipelineError : where the folder cannot be written (read-only, full, not a folder); the old file stays as it was
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise PipelineError(f"{path}: cannot be written ({error.strerror}); the file that was there is untouched") from error


class _Live:
    """A live table as this process last wrote or read it, so that a resident loop need not parse it each minute."""

    def __init__(self, header: list[str], lines: list[str], signature: tuple[int, int]):
        self.header, self.lines, self.signature = header, lines, signature
        self.columns: Columns | None = None
        self.parsed = 0


class Workspace:
    """The folder under which all of data/ processed/ scalers/ models/ performance/ logs/ lie.

    The one door to the tables: rooms read and write them by their catalog names.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._live: dict[str, _Live] = {}

    def path(self, name: str, k: int | None = None) -> Path:
        return self.root / TABLES[name].path.format(k=k)

    def exists(self, name: str, k: int | None = None) -> bool:
        return self.path(name, k).is_file()

    def read(self, name: str, k: int | None = None, last: int | None = None) -> Columns:
        """The table's rows, or its ``last`` ones, oldest first.

        Raises
        ------
        TableError : listing all faults of the rows that were read, and a missing file
        """
        table, path = TABLES[name], self.path(name, k)
        if not table.keep:
            header, lines = _split(path, _load(path))
            skipped = 0 if last is None else max(0, len(lines) - last)
            return parse(table, path, header, lines[skipped:], 2 + skipped)
        live = self._current(table, path)
        wanted = len(live.lines) if last is None else min(last, len(live.lines))
        if live.columns is None or live.parsed < wanted:
            skipped = len(live.lines) - wanted
            live.columns = parse(table, path, live.header, live.lines[skipped:], 2 + skipped)
            live.parsed = wanted
        return {key: values[live.parsed - wanted :] for key, values in live.columns.items()}

    def write(self, name: str, columns: Columns, k: int | None = None) -> None:
        """Replace the whole table.

        Raises
        ------
        TableError : listing all faults of ``columns`` against the catalog; nothing is written then
        """
        table, path = TABLES[name], self.path(name, k)
        header, lines = render(table, path, columns)
        write_atomically(path, _join(header, lines))
        self._live.pop(name, None)

    def append(self, name: str, columns: Columns) -> None:
        """Put rows at the end of a live table; a row whose stamp is there already is replaced, and with the same
        content nothing is touched. The oldest rows beyond ``keep`` move to the archive.
        """
        table, path = TABLES[name], self.path(name)
        header, fresh = render(table, path, columns)
        live = self._current(table, path) if path.is_file() else _Live(header, [], (0, 0))
        if live.header != header:
            # A retraining chose other features: rows under the old header go to the archive, the table starts anew.
            self._archive(table, live.header, live.lines)
            live = _Live(header, [], (0, 0))
        first = int(columns["timestamp"][0])
        stay = len(live.lines)
        while stay and _stamp(live.lines[stay - 1]) >= first:
            stay -= 1
        if live.lines[stay : stay + len(fresh)] == fresh:
            return
        lines = live.lines[:stay] + fresh
        # By whole SLACKs, so that rows appended together leave the same file as rows appended one by one.
        evicted = max(0, len(lines) - table.keep) // SLACK * SLACK
        if evicted:
            self._archive(table, header, lines[:evicted])
            lines = lines[evicted:]
        write_atomically(path, _join(header, lines))
        after = _Live(header, lines, _signature(path))
        if live.columns is not None:
            kept = max(0, live.parsed - (len(live.lines) - stay))
            new = parse(table, path, header, fresh, 2 + stay)
            old = {key: values[:kept] for key, values in live.columns.items()}
            after.columns = {key: np.concatenate([old[key], new[key]])[-len(lines) :] for key in new}
            after.parsed = min(len(lines), kept + len(fresh))
        self._live[name] = after

    def newest(self, name: str) -> int | None:
        """The stamp of a table's newest row, None where there is no row yet."""
        path = self.path(name)
        if not path.is_file():
            return None
        table = TABLES[name]
        lines = self._current(table, path).lines if table.keep else _split(path, _load(path))[1]
        return _stamp(lines[-1]) if lines else None

    def archived(self, name: str) -> Columns:
        """A live table's whole past: the archive's rows and the table's own, oldest first."""
        table = TABLES[name]
        folder = self.root / "processed" / "archive" / name
        parts = []
        for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
            header, lines = _split(path, _load(path))
            parts.append(parse(table, path, header, lines))
        if self.exists(name):
            parts.append(self.read(name))
        if not parts:
            return {}
        shared = [key for key in parts[-1] if all(key in part for part in parts)]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in shared}
        _, unique = np.unique(joined["timestamp"], return_index=True)
        return {key: values[unique] for key, values in joined.items()}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the workspace against a second process; the kernel lets go when this one dies, however it dies."""
        path = self.root / "logs" / "pipeline.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a")  # noqa: SIM115 - the lock lives as long as the file is open
        except OSError as error:
            raise PipelineError(f"{path}: cannot be opened ({error.strerror}); is the workspace writable?") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise WorkspaceBusyError(f"{self.root}: another run is at work here; try again when it has ended") from error
            yield

    def _current(self, table: Table, path: Path) -> _Live:
        live = self._live.get(table.name)
        if live is None or live.signature != _signature(path):
            signature = _signature(path)
            live = _Live(*_split(path, _load(path)), signature)
            self._live[table.name] = live
        return live

    def _archive(self, table: Table, header: list[str], lines: Sequence[str]) -> None:
        days: dict[str, list[str]] = {}
        for line in lines:
            day = datetime.fromtimestamp(_stamp(line) / 1000, UTC).strftime("%Y-%m-%d")
            days.setdefault(day, []).append(line)
        for day, fresh in days.items():
            path = self.root / "processed" / "archive" / table.name / f"{day}.csv"
            there: list[str] = []
            if path.is_file():
                old_header, there = _split(path, _load(path))
                if old_header != header:
                    path = path.with_name(f"{day}_{_stamp(fresh[0])}.csv")
                    there = []
            first = _stamp(fresh[0])
            write_atomically(path, _join(header, [line for line in there if _stamp(line) < first] + fresh))


def parse(table: Table, path: Path, header: list[str], lines: Sequence[str], first_row: int = 2) -> Columns:
    """Rows of text as columns, every fault of theirs listed at once; ``first_row`` is the first line's row in the file."""
    faults = [f"column {name} is missing" for name in _expected(table) if name not in header]
    known = {column.name: column for column in table.columns}
    for name in header:
        if name not in known and name != "datetime_ist" and not table.more:
            faults.append(f"column {name} is not in the catalog")
    if len(set(header)) != len(header):
        faults.append("a column name stands twice in the header")
    if faults:
        raise TableError(path, faults)
    rows = list(csv.reader(lines))
    for index, row in enumerate(rows):
        if len(row) != len(header):
            faults.append(f"row {first_row + index}: {len(row)} cells, the header has {len(header)}")
    if faults:
        raise TableError(path, faults)
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    columns: Columns = {}
    for name, column_cells in zip(header, cells, strict=True):
        if name == "datetime_ist":
            continue
        column = known.get(name, Column(name))
        columns[name] = _to_array(column, column_cells, first_row, faults)
    if not faults:
        faults = list(_faults(table, columns, first_row))
    if faults:
        raise TableError(path, faults)
    return columns


def render(table: Table, path: Path, columns: Columns) -> tuple[list[str], list[str]]:
    """Columns as a header and lines of text, in the catalog's order and its decimals.

    Raises
    ------
    TableError : listing every fault against the catalog
    """
    expected = _expected(table)
    faults = [f"column {name} is missing" for name in expected if name not in columns]
    more = [name for name in columns if name not in expected]
    if more and not table.more:
        faults += [f"column {name} is not in the catalog" for name in more]
    if len({len(values) for values in columns.values()}) > 1:
        faults.append("columns of unequal length")
    if faults:
        raise TableError(path, faults)
    faults = list(_faults(table, columns, 2))
    if faults:
        raise TableError(path, faults)
    status = ["status"] if "status" in expected else []
    order = [name for name in expected if name != "status"] + more + status
    known = {column.name: column for column in table.columns}
    header, cells = [], []
    for name in order:
        header.append(name)
        cells.append(_to_text(known.get(name, Column(name)), columns[name]))
        if name == "timestamp" and table.ist:
            header.append("datetime_ist")
            cells.append([datetime_ist(int(stamp)) for stamp in columns[name]])
    return header, [",".join(row) for row in zip(*cells, strict=True)]


def _expected(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def _faults(table: Table, columns: Columns, first_row: int) -> Iterable[str]:
    for column in table.columns:
        values = columns[column.name]
        if column.kind in (NUMBER, INTEGER):
            yield from _number_faults(column, values, first_row)
        elif column.kind == CHOICE:
            wrong = [i for i, value in enumerate(values) if value not in column.choices]
            for i in wrong:
                yield f"row {first_row + i}: {column.name} is {values[i]!r}, must be one of {', '.join(column.choices)}"
    if table.more:
        declared = set(_expected(table))
        for name, values in columns.items():
            if name not in declared:
                yield from _number_faults(Column(name), values, first_row)
    if table.stamped and len(columns["timestamp"]) > 1:
        for after in np.flatnonzero(np.diff(columns["timestamp"]) <= 0) + 1:
            yield f"row {first_row + int(after)}: timestamp {columns['timestamp'][after]} does not follow the row before it"


def _number_faults(column: Column, values: np.ndarray, first_row: int) -> Iterable[str]:
    numbers = np.asarray(values, float)
    bad = ~np.isfinite(numbers) & ~(np.isnan(numbers) & column.empty)
    for i in np.flatnonzero(bad):
        yield f"row {first_row + int(i)}: {column.name} is {'empty' if np.isnan(numbers[i]) else 'not finite'}"
    if column.low is not None:
        for i in np.flatnonzero(numbers < column.low):
            yield f"row {first_row + int(i)}: {column.name} is {numbers[i]:g}, below {column.low:g}"
    if column.high is not None:
        for i in np.flatnonzero(numbers > column.high):
            yield f"row {first_row + int(i)}: {column.name} is {numbers[i]:g}, above {column.high:g}"


def _to_array(column: Column, cells: Sequence[str], first_row: int, faults: list[str]) -> np.ndarray:
    if column.kind in (CHOICE, TEXT):
        return np.array(cells, dtype=object)
    convert: Callable[[str], float] = int if column.kind == INTEGER else float
    try:
        values = [convert(cell) if cell else np.nan for cell in cells]
    except ValueError:
        for i, cell in enumerate(cells):
            try:
                convert(cell) if cell else None
            except ValueError:
                faults.append(f"row {first_row + i}: {column.name} is {cell[:40]!r}, not a number")
        return np.zeros(len(cells))
    if column.kind == INTEGER:
        empty = [i for i, cell in enumerate(cells) if not cell]
        faults += [f"row {first_row + i}: {column.name} is empty" for i in empty]
        return np.array(values if not empty else [0] * len(cells), dtype=np.int64)
    return np.array(values, dtype=float)


def _to_text(column: Column, values: np.ndarray) -> list[str]:
    if column.kind == INTEGER:
        return [str(int(value)) for value in values]
    if column.kind == NUMBER:
        form = f"%.{column.decimals}f"
        numbers = np.asarray(values, float).tolist()
        return ["" if value != value else _trimmed(form % value) for value in numbers]
    return [_quoted(safe_text(str(value))) for value in values]


def _trimmed(number: str) -> str:
    if "." not in number:
        return number
    short = number.rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def _stamp(line: str) -> int:
    return int(line[: line.index(",")])


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TableError(path, [f"cannot be read ({error.strerror})"]) from error


def _split(path: Path, data: bytes) -> tuple[list[str], list[str]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TableError(path, [f"is not UTF-8 text ({error.reason} at byte {error.start})"]) from error
    lines = text.split("\n")
    if lines[-1]:
        raise TableError(path, [f"row {len(lines)} has no end: the file was cut short"])
    if len(lines) < 2:
        raise TableError(path, ["is empty: not even a header"])
    return next(csv.reader(io.StringIO(lines[0]))), lines[1:-1]


def _join(header: list[str], lines: Sequence[str]) -> bytes:
    return ("\n".join([",".join(header), *lines]) + "\n").encode("utf-8")


def _signature(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size
