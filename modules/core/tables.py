"""Tables on disk: validated on write and on read, replaced whole or not at all.

A table in memory is a dict of equally long numpy arrays, one a column: float64 for numbers, int64 for integers,
object (str) for words and text. Why not pandas: its import alone costs more than the whole live minute.
"""

import csv
import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from modules.core.catalog import CHOICE, INTEGER, NUMBER, TABLES, TEXT, Column, Table
from modules.core.errors import PipelineError, TableError, WorkspaceBusyError

Columns = dict[str, np.ndarray]

SLACK = 60
"""A live table grows this far beyond its ``keep`` before its oldest rows move to the archive in one go."""

_FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_IST = timedelta(hours=5, minutes=30)


def datetime_ist(timestamp: int) -> str:
    """A stamp in Unix ms as people in India read it: ``2024-04-01 05:30:00``."""
    return (datetime.fromtimestamp(timestamp / 1000, UTC) + _IST).strftime("%Y-%m-%d %H:%M:%S")


def safe_text(text: str) -> str:
    """Text from anywhere as one spreadsheet cell: one line, and never the start of a formula."""
    encodable = text.encode("utf-8", "replace").decode()  # half a surrogate pair, which JSON may bring, becomes "?"
    line = encodable.replace("\x00", "").replace("\n", " ").replace("\r", " ")
    # Some spreadsheets drop the spaces before a formula.
    return "'" + line if line.startswith("\t") or line.lstrip().startswith(_FORMULA_STARTS) else line


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
    except BaseException as error:  # Ctrl-C too must not leave half a file behind
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise PipelineError(f"{path}: cannot be written ({error.strerror}); the file that was there is untouched") from error


class _Live:
    """A live table as this process last wrote or read it, so that a resident loop need not parse it each minute."""

    def __init__(self, header: list[str], lines: list[str], signature: tuple[int, ...]):
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
            header, lines, skipped = _ending(path, last)
            return parse(table, path, header, lines, 2 + skipped)
        live = self._current(table, path)
        wanted = len(live.lines) if last is None else min(last, len(live.lines))
        if live.columns is None or live.parsed < wanted:
            skipped = len(live.lines) - wanted
            live.columns = _frozen(parse(table, path, live.header, live.lines[skipped:], 2 + skipped))
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
        if not fresh:
            return
        live = self._current(table, path) if path.is_file() else _Live(header, [], ())
        if live.header != header:
            # A retraining chose other features: rows under the old header go to the archive, the table starts anew.
            self._archive(table, live.header, live.lines)
            live = _Live(header, [], ())
        stay, first = len(live.lines), _stamp(path, fresh[0])
        while stay and _stamp(path, live.lines[stay - 1]) >= first:
            stay -= 1
        tail = _merged(path, live.lines[stay:], fresh)
        if live.lines[stay:] == tail:
            return
        lines = live.lines[:stay] + tail
        # By whole SLACKs, so that rows appended together leave the same file as rows appended one by one.
        evicted = max(0, len(lines) - table.keep) // SLACK * SLACK
        if evicted:
            self._archive(table, header, lines[:evicted])
            lines = lines[evicted:]
        write_atomically(path, _join(header, lines))
        written = _Live(header, lines, signature(path))
        if live.columns is not None:
            kept = max(0, live.parsed - (len(live.lines) - stay))
            new = parse(table, path, header, tail, 2 + stay)
            written.parsed = min(len(lines), kept + len(tail))
            written.columns = _frozen({key: np.concatenate([live.columns[key][:kept], new[key]])[-len(lines) :] for key in new})
        self._live[name] = written

    def newest(self, name: str) -> int | None:
        """The stamp of a table's newest row, None where there is no row yet."""
        path = self.path(name)
        if not path.is_file():
            return None
        table = TABLES[name]
        lines = self._current(table, path).lines if table.keep else _ending(path, 1)[1]
        return _stamp(path, lines[-1]) if lines else None

    def archived(self, name: str) -> Columns:
        """A live table's whole past: the archive's rows and the table's own, oldest first; where a stamp is in both, as
        the table has it."""
        table = TABLES[name]
        parts = [self.read(name)] if self.exists(name) else []
        for path in sorted((self.root / "processed" / "archive" / name).glob("*.csv")):
            header, lines = _split(path, _load(path))
            parts.append(parse(table, path, header, lines))
        if not parts:
            return {}
        shared = [key for key in parts[0] if all(key in part for part in parts)]
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
        there = signature(path)
        live = self._live.get(table.name)
        if live is None or live.signature != there:
            live = self._live[table.name] = _Live(*_split(path, _load(path)), there)
        return live

    def _archive(self, table: Table, header: list[str], lines: Sequence[str]) -> None:
        days: dict[str, list[str]] = {}
        for line in lines:
            day = datetime.fromtimestamp(_stamp(self.path(table.name), line) / 1000, UTC).strftime("%Y-%m-%d")
            days.setdefault(day, []).append(line)
        for day, fresh in days.items():
            path = self.root / "processed" / "archive" / table.name / f"{day}.csv"
            if path.is_file() and _split(path, _load(path))[0] != header:
                # A day on which the columns changed: one more file, named after its columns.
                path = path.with_name(f"{day}_{zlib.crc32(','.join(header).encode()):08x}.csv")
            there = _split(path, _load(path))[1] if path.is_file() else []
            write_atomically(path, _join(header, _merged(path, there, fresh)))


def from_rows(columns: Sequence[Column], rows: Sequence[Sequence]) -> Columns:
    """A table in memory from rows of cells in the columns' order."""
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    kinds = {NUMBER: float, INTEGER: np.int64}
    return {c.name: np.array(values, kinds.get(c.kind, object)) for c, values in zip(columns, cells, strict=True)}


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
    rows = _cells(path, lines, first_row)
    numbers: Sequence[int] = range(first_row, first_row + len(rows))
    if any(len(row) != len(header) for row in rows):
        for number, row in zip(numbers, rows, strict=True):
            if len(row) != len(header):
                faults.append(f"row {number}: {len(row)} cells, the header has {len(header)}")
        numbers = [number for number, row in zip(numbers, rows, strict=True) if len(row) == len(header)]
        rows = [row for row in rows if len(row) == len(header)]
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    columns: Columns = {}
    for name, column_cells in zip(header, cells, strict=True):
        if name != "datetime_ist":
            columns[name] = _to_array(known.get(name) or Column(name), column_cells, numbers, faults)
    faults += _faults(table, columns, numbers, blanks=True)
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
    faults = list(_faults(table, columns, range(2, 2 + len(columns[expected[0]])), blanks=False))
    if faults:
        raise TableError(path, faults)
    status = ["status"] if "status" in expected else []
    order = [name for name in expected if name != "status"] + more + status
    known = {column.name: column for column in table.columns}
    header, cells = [], []
    for name in order:
        header.append(name)
        cells.append(_to_text(known.get(name) or Column(name), columns[name]))
        if name == "timestamp" and table.ist:
            header.append("datetime_ist")
            cells.append([datetime_ist(int(stamp)) for stamp in columns[name]])
    return header, [",".join(row) for row in zip(*cells, strict=True)]


def _expected(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def _faults(table: Table, columns: Columns, numbers: Sequence[int], blanks: bool) -> Iterable[str]:
    """Faults of the values; ``numbers`` are their rows in the file, ``blanks`` lets NaN pass in any column."""
    declared = set(_expected(table))
    numeric = [column for column in table.columns if column.kind in (NUMBER, INTEGER)]
    numeric += [Column(name) for name in columns if name not in declared]
    # All columns in one go: a minute's row costs as much as its numpy calls.
    values = np.array([columns[column.name] for column in numeric], float)
    low = np.array([-np.inf if column.low is None else column.low for column in numeric])[:, None]
    high = np.array([np.inf if column.high is None else column.high for column in numeric])[:, None]
    may_be_nan = np.array([blanks or column.empty for column in numeric], bool)[:, None]
    fine = np.isfinite(values) & (values >= low) & (values <= high) | np.isnan(values) & may_be_nan
    for place, i in [] if fine.all() else np.argwhere(~fine).tolist():
        yield f"row {numbers[i]}: {numeric[place].name} is {_amiss(numeric[place], float(values[place, i]))}"
    for column in table.columns:
        if column.kind == CHOICE:
            for number, value in zip(numbers, columns[column.name], strict=True):
                if value not in column.choices:
                    yield f"row {number}: {column.name} is {value!r}, must be one of {', '.join(column.choices)}"
    if table.stamped and len(numbers) > 1:
        for i in (np.flatnonzero(np.diff(columns["timestamp"]) <= 0) + 1).tolist():
            yield f"row {numbers[i]}: timestamp {columns['timestamp'][i]:.0f} does not follow the row before it"


def _amiss(column: Column, value: float) -> str:
    if not np.isfinite(value):
        return "empty" if np.isnan(value) else "not finite"
    if column.low is not None and value < column.low:
        return f"{value!r}, below {column.low:g}"
    return f"{value!r}, above {column.high:g}"


def _to_array(column: Column, cells: Sequence[str], numbers: Sequence[int], faults: list[str]) -> np.ndarray:
    """Cells as values; those that are none are added to ``faults`` and become NaN."""
    if column.kind in (CHOICE, TEXT):
        return np.array(cells, dtype=object)
    try:
        if column.kind == INTEGER:
            return np.array([int(cell) for cell in cells], np.int64)
        values = np.array([float(cell) if cell else np.nan for cell in cells])
    except (ValueError, OverflowError):
        values = np.array([_number(column, cell) for cell in cells])
    for i in np.flatnonzero(np.isnan(values)).tolist():
        if cells[i]:
            faults.append(f"row {numbers[i]}: {column.name} is {cells[i][:40]!r}, not a number")
        elif not column.empty:
            faults.append(f"row {numbers[i]}: {column.name} is empty")
    return values


def _number(column: Column, cell: str) -> float:
    try:
        return float(np.int64(int(cell))) if column.kind == INTEGER else float(cell)
    except (ValueError, OverflowError):
        return np.nan


def _to_text(column: Column, values: np.ndarray) -> list[str]:
    if column.kind == INTEGER:
        return [str(int(value)) for value in values]
    if column.kind == NUMBER:
        form = f"%.{column.decimals}f"
        numbers = np.asarray(values, float).tolist()
        return ["" if value != value else _trimmed(form % value) for value in numbers]
    return [_quoted(safe_text(str(value))) for value in values]


def _trimmed(number: str) -> str:
    short = number.rstrip("0").rstrip(".") if "." in number else number
    return "0" if short == "-0" else short


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def _frozen(columns: Columns) -> Columns:
    """What is kept in memory is handed to many: none may change it under the others."""
    for values in columns.values():
        values.flags.writeable = False
    return columns


def _merged(path: Path, lines: Sequence[str], fresh: Sequence[str]) -> list[str]:
    """Both in the order of their stamps; where both have one, the fresh line."""
    by_stamp = {_stamp(path, line): line for line in [*lines, *fresh]}
    return [by_stamp[stamp] for stamp in sorted(by_stamp)]


def _stamp(path: Path, line: str) -> int:
    try:
        return int(line[: line.index(",")])
    except ValueError as error:
        raise TableError(path, [f"{line[:40]!r} does not begin with a timestamp"]) from error


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TableError(path, [f"cannot be read ({error.strerror})"]) from error


def _ending(path: Path, last: int | None) -> tuple[list[str], list[str], int]:
    """The header, the ``last`` lines (None: all), and how many stand before them: those are counted and not taken apart."""
    data = _load(path)
    if last is None:
        return *_split(path, data), 0
    body, start = data.find(b"\n") + 1, len(data)
    for _ in range(last + 1):
        start = data.rfind(b"\n", 0, start)
        if start < body:
            return *_split(path, data), 0
    skipped = data.count(b"\n", body, start + 1)
    return *_split(path, data[:body] + data[start + 1 :], skipped), skipped


def _split(path: Path, data: bytes, skipped: int = 0) -> tuple[list[str], list[str]]:
    try:
        text = data.decode("utf-8-sig")  # a spreadsheet may have put a byte-order mark in front
    except UnicodeDecodeError as error:
        raise TableError(path, [f"is not UTF-8 text ({error.reason} at byte {error.start})"]) from error
    lines = text.split("\n")
    if lines[-1]:
        raise TableError(path, [f"row {skipped + len(lines)} has no end: the file was cut short"])
    if len(lines) < 2:
        raise TableError(path, ["is empty: not even a header"])
    return _cells(path, lines[:1], 1)[0], lines[1:-1]


def _cells(path: Path, lines: Sequence[str], first_row: int) -> list[list[str]]:
    """Each line's cells."""
    with suppress(csv.Error):
        rows = list(csv.reader(lines))
        if len(rows) == len(lines):  # a quotation mark left open runs on into the lines below
            return rows
    faults = []
    for number, line in enumerate(lines, first_row):
        try:
            list(csv.reader([line], strict=True))
        except csv.Error as error:
            faults.append(f"row {number}: cannot be split into cells ({error})")
    raise TableError(path, faults)


def _join(header: list[str], lines: Sequence[str]) -> bytes:
    return "\n".join([",".join(header), *lines, ""]).encode("utf-8")


def signature(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is replaced."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise TableError(path, [f"cannot be read ({error.strerror})"]) from error
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
