"""One-minute candles from files and from the exchange's answers: read, checked as a whole, repaired and counted."""

import csv
import io
import os
import re
import stat
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np

from modules.core.errors import TableError
from modules.core.words import MINUTE_MS

Columns = dict[str, np.ndarray]
Rule = tuple[str, np.ndarray, Callable[[int], str]]
"""The column that a rule blames, where it is broken (N,), and the reason at an index."""

PRICES = ("open", "high", "low", "close")
AMOUNTS = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
COLUMNS = ("timestamp", *PRICES, *AMOUNTS)

ALIASES = {
    "timestamp": ("open_time",),
    "quote_volume": ("quote_asset_volume",),
    "trades": ("count", "number_of_trades"),
    "taker_buy_base": ("taker_buy_volume", "taker_buy_base_asset_volume"),
    "taker_buy_quote": ("taker_buy_quote_volume", "taker_buy_quote_asset_volume"),
}
"""Names in the header lines of Binance's own files: https://github.com/binance/binance-public-data"""

BINANCE_WIDTH = 12
BINANCE_POSITIONS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10)
"""Where COLUMNS stand in Binance's rows; 6 is close_time and 11 is unused."""

MAX_BYTES = 2 << 30
MAX_LINE_BYTES = 1 << 20
MAX_FAULTS = 1_000
"""Faults of one kind that are listed: a file of garbage must not fill the memory with sentences about itself."""
SHOWN_GAPS = 20

_is_number = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII).fullmatch


@dataclass
class _Cells:
    """A table as it was found, before it was judged."""

    columns: Columns
    """float64, time stamps in the file's own unit, NaN where a cell holds no number"""
    rows: np.ndarray | None = None
    """the file's line number of each row; None where nobody counted"""
    texts: dict[tuple[int, str], str] = field(default_factory=dict)
    """what stood in the cells that are NaN or infinite, by index and column"""
    faults: list[tuple[int, str]] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Layout:
    """Where a file keeps COLUMNS, and how many fields each of its lines has."""

    width: int
    positions: tuple[int, ...]
    has_header: bool


def read_candles(path: str | os.PathLike, max_gap_minutes: int = 60) -> tuple[Columns, list[str]]:
    """Read a file of one-minute candles.

    Reads CSV with a header (columns in any order, further columns ignored) and Binance's own CSV with or without its
    header line (https://github.com/binance/binance-public-data), plain or in gzip or zip, told by content. Time stamps
    are open times in seconds, milliseconds or microseconds.

    Parameters
    ----------
    path : the file
    max_gap_minutes : a hole in the candles up to this long is filled with flat candles, a longer one is a fault

    Returns
    -------
    columns : ``timestamp`` (N,) int64, Unix ms UTC of the open, every minute once, ascending; the other COLUMNS (N,)
        float64: prices in the quote currency, volume and taker_buy_base in the base currency, trades a count
    repairs : what was mended, in plain words with counts; empty for a clean file

    Raises
    ------
    TableError
        with every fault of the file, by row (the file's line number, the first line is 1), column and value
    """
    fast = _read_fast(path)
    if fast is not None:
        try:
            return _validated(path, fast, max_gap_minutes)
        except TableError:
            pass  # the slow reading finds the same faults and knows the line that each stands on
    return _validated(path, _read_slow(path), max_gap_minutes)


def parse_kline_rows(rows: Sequence[Sequence], max_gap_minutes: int = 60, repairs: list[str] | None = None) -> Columns:
    """Candles from the rows of Binance's REST answer, held to the same rules as a file.

    Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data

    Parameters
    ----------
    rows : open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_base,
        taker_buy_quote and anything after; numbers may be strings
    max_gap_minutes : as in ``read_candles``
    repairs : where given, what was mended is appended to it

    Returns
    -------
    The columns as ``read_candles`` returns them

    Raises
    ------
    TableError
        with every fault; row 1 is the first of the answer
    """
    values, numbers = array("d"), array("q")
    cells = _Cells({})
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, (list, tuple)) or len(row) <= BINANCE_POSITIONS[-1]:
            cells.faults.append((number, f"row {number}: {_short(row)} is not a row of {BINANCE_WIDTH} fields"))
            continue
        _take(cells, len(numbers), [_json_text(row[position]) for position in BINANCE_POSITIONS], values)
        numbers.append(number)
    _fill(cells, values, numbers)
    columns, mended = _validated("answer with candles", cells, max_gap_minutes)
    if repairs is not None:
        repairs += mended
    return columns


def empty_columns() -> Columns:
    """No candles, in the shape and the types of ``read_candles``."""
    return {name: np.empty(0, np.int64 if name == "timestamp" else np.float64) for name in COLUMNS}


# Reading


def _read_fast(path: str | os.PathLike) -> _Cells | None:
    """The whole table by numpy's own parser, or None where a line is out of the ordinary."""
    with _opened(path) as file:
        number, first = _first_line(path, file)
        layout = _layout(path, number, first)
        lines = _regular_lines(file if layout.has_header else chain([first], file), layout.width)
        try:
            # The first line is drawn here because numpy warns about an empty table.
            lines = chain([next(lines)], lines)
            table = np.loadtxt(lines, delimiter=",", comments=None, usecols=layout.positions, ndmin=2)
        except (ValueError, StopIteration):
            return None
    return _Cells({name: table[:, index] for index, name in enumerate(COLUMNS)})


def _regular_lines(lines: Iterable[str], width: int) -> Iterator[str]:
    """The lines, each with ``width`` fields and no quotes: numpy alone would pass over a surplus field."""
    for line in lines:
        if line.count(",") != width - 1 or '"' in line:
            if line.isspace():
                continue
            raise ValueError
        yield line


def _read_slow(path: str | os.PathLike) -> _Cells:
    """The table field by field, with the line number of each row and all that cannot be read."""
    values, rows = array("d"), array("q")
    cells = _Cells({})
    with _opened(path) as file:
        number, first = _first_line(path, file)
        layout = _layout(path, number, first)
        lines = file if layout.has_header else chain([first], file)
        for row, line in enumerate(lines, start=number + layout.has_header):
            if line.isspace():
                continue
            if len(cells.faults) + len(cells.texts) >= MAX_FAULTS:
                cells.faults.append((row, f"row {row}: not checked from here on, after {MAX_FAULTS} faults"))
                break
            fields = _fields(line)
            last_is_empty = not fields[-1] and layout.width - 1 in layout.positions
            if not line.endswith("\n") and (len(fields) != layout.width or last_is_empty):
                cells.repairs.append(f"half a line at the end (row {row}) dropped")
            elif len(fields) != layout.width:
                found = f"{_count(len(fields), 'field')} instead of {layout.width}"
                cells.faults.append((row, f"row {row}: {found}: {_short(line.strip())}"))
            else:
                _take(cells, len(rows), [fields[position] for position in layout.positions], values)
                rows.append(row)
    _fill(cells, values, rows)
    return cells


def _take(cells: _Cells, index: int, texts: list[str], values: array) -> None:
    """Append one row's numbers to ``values`` and remember the texts that are none."""
    for name, text in zip(COLUMNS, texts, strict=True):
        value = float(text) if _is_number(text) else np.nan
        if not np.isfinite(value):
            cells.texts[index, name] = text
        values.append(value)


def _fill(cells: _Cells, values: array, rows: array) -> None:
    table = np.array(values, dtype=np.float64).reshape(-1, len(COLUMNS))
    cells.columns = {name: table[:, index] for index, name in enumerate(COLUMNS)}
    cells.rows = np.array(rows, dtype=np.int64)


def _fields(line: str) -> list[str]:
    """The fields of one line, without quotes and surrounding blanks."""
    if '"' in line:
        try:
            return [text.strip() for text in next(csv.reader([line]))]
        except csv.Error:
            pass  # not CSV: its commas still tell how many fields were meant
    return [text.strip() for text in line.split(",")]


def _json_text(value: object) -> str:
    """A JSON number or string as the text of a field; anything else as a text that is no number."""
    return str(value) if type(value) in (str, int, float) else repr(value)


def _first_line(path: object, file: TextIO) -> tuple[int, str]:
    """The first line that is not blank, and its number."""
    for number, line in enumerate(file, start=1):
        if not line.isspace():
            return number, line
    raise TableError(path, ["the file is empty"])


def _layout(path: object, number: int, line: str) -> _Layout:
    """What the first line says about the others: a header, or already the first candle of Binance's own format."""
    fields = _fields(line)
    if _is_number(fields[0]):
        if len(fields) == BINANCE_WIDTH:
            return _Layout(BINANCE_WIDTH, BINANCE_POSITIONS, has_header=False)
        found = f"no header line, and {_count(len(fields), 'field')} instead of the {BINANCE_WIDTH} of Binance's files"
        raise TableError(path, [f"row {number}: {found}; begin the file with the line {','.join(COLUMNS)}"])
    header = [name.lower() for name in fields]
    positions, faults = [], []
    for name in COLUMNS:
        known = next((known for known in (name, *ALIASES.get(name, ())) if known in header), None)
        if known is None:
            faults.append(f"row {number}: column {name} is missing")
        elif header.count(known) > 1:
            faults.append(f"row {number}: column {known} stands {header.count(known)} times")
        else:
            positions.append(header.index(known))
    if faults:
        faults[-1] += f"; the header line reads {_short(line.strip())}"
        raise TableError(path, faults)
    return _Layout(len(header), tuple(positions), has_header=True)


# Opening


class _Bounded(io.RawIOBase):
    """The bytes of ``source`` as long as they can be text of a bearable size: an archive may unpack to anything."""

    def __init__(self, path: object, source: BinaryIO):
        self.path, self.source = path, source
        self.total = self.line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.source.read(len(buffer))
        self.total += len(data)
        self.line = 0 if b"\n" in data or b"\r" in data else self.line + len(data)
        if self.total > MAX_BYTES:
            raise TableError(self.path, [f"the file holds more than {MAX_BYTES >> 20:,} MiB of text"])
        if b"\0" in data or self.line > MAX_LINE_BYTES:
            raise TableError(self.path, ["the file is not a text file in UTF-8"])
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[TextIO]:
    """The file as text, unpacked. Whatever keeps it from being read, then or later, is told as a TableError."""
    with ExitStack() as stack:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                what = "a directory" if os.path.isdir(path) else "a device or a pipe"
                raise TableError(path, [f"this is {what}, not a file"])
            source: BinaryIO = stack.enter_context(Path(path).open("rb"))
            magic = source.read(4)
            source.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                import gzip  # only where needed: each costs the live path some milliseconds

                source = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=source)))
            elif magic in (b"PK\x03\x04", b"PK\x05\x06"):
                source = stack.enter_context(_only_member(path, source))
            # Decoded strictly; the mark that some editors put before the first line is dropped.
            yield io.TextIOWrapper(io.BufferedReader(_Bounded(path, source), 1 << 18), encoding="utf-8-sig")
        except FileNotFoundError:
            raise TableError(path, ["the file does not exist"]) from None
        except PermissionError:
            raise TableError(path, ["no permission to read the file"]) from None
        except UnicodeDecodeError:
            raise TableError(path, ["the file is not a text file in UTF-8"]) from None
        except (EOFError, zlib.error):
            raise TableError(path, ["the archive is damaged or was cut off: fetch the file again"]) from None
        except OSError as error:
            raise TableError(path, [f"the file cannot be read: {error.strerror or 'the archive is damaged'}"]) from None


@contextmanager
def _only_member(path: object, source: BinaryIO) -> Iterator[BinaryIO]:
    """The one file inside a zip archive."""
    import struct
    import zipfile

    damaged = TableError(path, ["the zip archive is damaged or was cut off: fetch the file again"])
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(source))
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                found = _count(len(members), "file")
                raise TableError(path, [f"the zip archive holds {found}, it must hold one CSV file"])
            if members[0].flag_bits & 1:
                raise TableError(path, ["the zip archive is encrypted: unpack it first"])
            if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise TableError(path, ["the zip archive is packed by an unusual method: unpack it first"])
            member = cast(BinaryIO, stack.enter_context(archive.open(members[0])))
        except (zipfile.BadZipFile, RuntimeError, ValueError, struct.error, EOFError, OSError):
            raise damaged from None
        try:
            yield member
        except zipfile.BadZipFile:  # the checksum is tested while reading
            raise damaged from None


# Judging


def _validated(path: object, cells: _Cells, max_gap_minutes: int) -> tuple[Columns, list[str]]:
    """The one set of rules for candles, wherever they come from: every fault at once, or the mended columns."""
    raw = cells.columns
    rows = np.arange(1, len(raw["timestamp"]) + 1) if cells.rows is None else cells.rows
    faults = list(cells.faults)
    stamps, stamp_faults = _milliseconds(raw["timestamp"])

    for name, bad, reason in (*stamp_faults, *_cell_faults(raw)):
        for index in np.flatnonzero(bad)[:MAX_FAULTS]:
            shown = _short(cells.texts.get((index, name), raw[name][index]))
            faults.append((int(rows[index]), f"row {rows[index]}, column {name}: {shown} {reason(index)}"))

    usable = np.flatnonzero(stamps >= 0)
    order = usable[np.argsort(stamps[usable], kind="stable")]
    again = np.flatnonzero(np.diff(stamps[order]) == 0) + 1
    differs = np.any([raw[name][order[again]] != raw[name][order[again - 1]] for name in COLUMNS[1:]], axis=0)
    for k in again[differs][:MAX_FAULTS]:
        row, before = rows[order[k]], rows[order[k - 1]]
        faults.append((int(row), f"row {row}: {_utc(stamps[order[k]])} stands in row {before} with different values"))

    kept = np.delete(order, again)
    holes = np.diff(stamps[kept]) // MINUTE_MS - 1
    for k in np.flatnonzero(holes > max_gap_minutes)[:MAX_FAULTS]:
        row = rows[kept[k + 1]]
        gap = f"gap of {_count(holes[k], 'minute')} after {_utc(stamps[kept[k]])}"
        allowed = f"more than the {max_gap_minutes} that the setting data.max_gap_minutes allows"
        faults.append((int(row), f"row {row}: {gap}, {allowed}"))

    if faults:
        raise TableError(path, [sentence for _, sentence in sorted(faults, key=lambda fault: fault[0])])
    if not len(kept):
        raise TableError(path, ["there are no candles in it", *cells.repairs])

    repairs = list(cells.repairs)
    late = int(np.sum(stamps < np.maximum.accumulate(stamps)))
    if late:
        repairs.append(f"{_count(late, 'row')} out of order sorted")
    if len(again):
        repairs.append(f"{_count(len(again), 'duplicate row')} dropped")
    gaps = np.flatnonzero(holes > 0)
    for k in gaps[:SHOWN_GAPS]:
        minutes = _count(holes[k], "minute")
        repairs.append(f"gap of {minutes} after {_utc(stamps[kept[k]])} filled with flat candles")
    if len(gaps) > SHOWN_GAPS:
        further = _count(len(gaps) - SHOWN_GAPS, "further gap")
        in_all = _count(holes[gaps[SHOWN_GAPS:]].sum(), "minute")
        repairs.append(f"{further} of {in_all} in all filled with flat candles")

    columns = {name: np.ascontiguousarray(raw[name][kept]) for name in COLUMNS[1:]}
    return without_gaps({"timestamp": stamps[kept], **columns}), repairs


def _milliseconds(stamps: np.ndarray) -> tuple[np.ndarray, list[Rule]]:
    """Time stamps (N,) in any unit as Unix ms, int64, -1 where they are none; and what is wrong with those.

    The unit is told by magnitude: until the year 2255 the three ranges cannot be mistaken for one another after 1973.
    """
    finite = np.isfinite(stamps)
    minute = np.select(
        [(stamps >= low) & (stamps < high) for low, high in ((1e8, 1e11), (1e11, 1e14), (1e14, 9e15))],
        [60.0, 60e3, 60e6],
        np.nan,
    )
    known = np.isfinite(minute)
    with np.errstate(invalid="ignore"):
        whole = stamps % minute == 0
    result = np.full(len(stamps), -1, np.int64)
    result[whole] = (stamps[whole] / minute[whole]).astype(np.int64) * MINUTE_MS
    return result, [
        ("timestamp", finite & ~known, lambda _: "is no time in Unix seconds, milliseconds or microseconds"),
        ("timestamp", known & ~whole, lambda _: "is not on a whole minute"),
    ]


def _cell_faults(raw: Columns) -> Iterator[Rule]:
    """The rules on the cells of a row."""
    low, high = raw["low"], raw["high"]
    for name in COLUMNS:
        yield name, ~np.isfinite(raw[name]), lambda _: "is not a finite number"
    for name in PRICES:
        yield name, raw[name] <= 0, lambda _: "is not above zero"
    for name in AMOUNTS:
        yield name, raw[name] < 0, lambda _: "is negative"
    yield "high", high < low, lambda i: f"is below the low {low[i]:.15g}"
    for name in ("open", "close"):
        outside = (high >= low) & (raw[name] > 0) & ((raw[name] > high) | (raw[name] < low))
        yield name, outside, lambda i: f"is outside low {low[i]:.15g} to high {high[i]:.15g}"
    for name, whole in (("taker_buy_base", "volume"), ("taker_buy_quote", "quote_volume")):
        # A part may exceed its whole by what rounding either of them to six decimals can do.
        above = (raw[whole] >= 0) & (raw[name] - raw[whole] > raw[whole] * 1e-9 + 1e-6)
        yield name, above, lambda i, whole=whole: f"is more than {whole} {raw[whole][i]:.15g}"  # type: ignore[misc]


def without_gaps(columns: Columns) -> Columns:
    """Every minute once: one that is missing repeats the close before it, without volume and trades."""
    stamps = columns["timestamp"]
    every = np.arange(stamps[0], stamps[-1] + MINUTE_MS, MINUTE_MS)
    if len(every) == len(stamps):
        return columns
    before = np.searchsorted(stamps, every, side="right") - 1
    missing = stamps[before] != every
    filled = {name: columns[name][before] for name in COLUMNS[1:]}
    for name in PRICES:
        filled[name][missing] = columns["close"][before[missing]]
    for name in AMOUNTS:
        filled[name][missing] = 0.0
    return {"timestamp": every, **filled}


# Wording


def _short(value: object) -> str:
    """A value as a user can recognise it, of bearable length and without control characters."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(float(value))
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _utc(stamp_ms: int) -> str:
    return datetime.fromtimestamp(int(stamp_ms) / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
