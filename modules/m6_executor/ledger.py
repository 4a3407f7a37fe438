"""The paper ledger: one SQLite file that holds all the executor knows. The CSVs are exports of it.

A candle is written in one transaction, with those before it that were missed, so a process killed at any moment leaves
the ledger after a candle or before it, never between. ``synchronous = FULL`` makes a commit outlive a power cut as well.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, fields
from pathlib import Path

import numpy as np

from modules.core.catalog import FIGURES, INTEGER, NUMBER, TABLES, Column
from modules.core.errors import PipelineError
from modules.core.tables import Columns, from_rows
from modules.core.words import OK
from modules.m6_executor.model import Account, Candle, Decision, Position, Step, Trade
from modules.m6_executor.reports import HOUR_MS, Course

PATH = "performance/ledger.sqlite"
APPLICATION_ID, VERSION = 0x42544345, 2
"""Written into the file's header, so that another program's database is never taken for a ledger."""

TRADE = tuple(field.name for field in fields(Trade))
EQUITY = tuple(column.name for column in TABLES["equity"].columns if column.name != "status")
FIGURE = tuple(column.name for column in FIGURES)

_SCHEMA = f"""
CREATE TABLE standing (
    one INTEGER PRIMARY KEY CHECK (one = 1), capital REAL, asked REAL, timestamp INTEGER, account TEXT, course TEXT,
    reported INTEGER
);
CREATE TABLE candles (timestamp INTEGER PRIMARY KEY, cash REAL, position_value REAL, equity REAL, position REAL);
CREATE TABLE hours (timestamp INTEGER PRIMARY KEY, equity REAL, close REAL, candles INTEGER, exposed INTEGER);
CREATE TABLE decisions (
    timestamp INTEGER PRIMARY KEY, signal TEXT, stop REAL, target REAL, size REAL, confidence REAL, reason TEXT,
    regime TEXT, verdict TEXT
);
CREATE TABLE trades (timestamp INTEGER PRIMARY KEY, {", ".join(TRADE[1:])});
CREATE TABLE report (scope, figure, value, low, high, n, baseline, baseline_is);
CREATE TABLE exports (name TEXT PRIMARY KEY, version INTEGER, size INTEGER);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
# The exports are forgotten, so that the trades' table is written again with its new column.
_FROM_VERSION_1 = """
BEGIN IMMEDIATE;
ALTER TABLE trades ADD COLUMN funding DEFAULT 0.0;
DELETE FROM exports;
PRAGMA user_version = 2;
COMMIT;
"""


class Ledger:
    """An open ledger file.

    Raises
    ------
    PipelineError : from any method, where the file cannot be read or written, is damaged or is no ledger
    """

    def __init__(self, path: Path, capital: float):
        """Open the ledger, or make one that starts with ``capital`` USD."""
        self.path = path
        with self._plainly():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._check()
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                if not self._is_ours():
                    self._create(capital)
                elif self._pragma("user_version") == 1:
                    self._db.executescript(_FROM_VERSION_1)
                self.capital, self.asked = self._db.execute("SELECT capital, asked FROM standing").fetchone()
            except BaseException:
                self._db.close()
                raise
        self._inode = os.stat(path).st_ino

    def close(self) -> None:
        self._db.close()

    def still_there(self) -> bool:
        """Whether the path still names the file that is open: it may have been moved away or replaced."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def newest(self) -> int | None:
        """The stamp of the newest candle processed, None before the first."""
        return self._one("SELECT timestamp FROM standing")[0]

    def standing(self) -> tuple[Account, Course | None]:
        """The account and its course after the newest candle."""
        account, course = self._one("SELECT account, course FROM standing")
        try:
            return _account(json.loads(account)), Course(**json.loads(course)) if course else None
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(f"its account cannot be read: {error}") from error

    def remember_asked(self, capital: float) -> None:
        """Note the capital that the settings ask for, so that a difference is told once and not each minute."""
        with self.transaction():
            self._db.execute("UPDATE standing SET asked = ?", (capital,))
        self.asked = capital

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept, or nothing of it."""
        with self._plainly():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def record(self, candle: Candle, decision: Decision | None, step: Step, course: Course) -> None:
        """Write what a candle did. A candle that is there already is refused by the primary key."""
        account, now = step.account, candle.timestamp
        value = account.coins * candle.close
        equity, exposed = account.equity(candle.close), int(account.position is not None)
        execute = self._db.execute
        execute("INSERT INTO candles VALUES (?, ?, ?, ?, ?)", (now, account.cash, value, equity, account.coins))
        execute(
            "INSERT INTO hours VALUES (?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET equity = excluded.equity,"
            " close = excluded.close, candles = candles + 1, exposed = exposed + excluded.exposed",
            (now // HOUR_MS * HOUR_MS, equity, candle.close, exposed),
        )
        if decision and step.verdict:
            execute(f"INSERT INTO decisions VALUES ({_marks(9)})", (*astuple(decision), step.verdict))
        for trade in step.trades:
            execute(f"INSERT INTO trades ({', '.join(TRADE)}) VALUES ({_marks(len(TRADE))})", astuple(trade))
        execute(
            "UPDATE standing SET timestamp = ?, account = ?, course = ?",
            (now, json.dumps(asdict(account)), json.dumps(asdict(course))),
        )

    def set_report(self, timestamp: int, report: Columns) -> None:
        """Replace the report by the one made at candle ``timestamp``, inside the transaction of that candle."""
        rows = zip(*(report[name].tolist() for name in FIGURE), strict=True)
        self._db.execute("DELETE FROM report")
        self._db.executemany(f"INSERT INTO report VALUES ({_marks(len(FIGURE))})", rows)
        self._db.execute("UPDATE standing SET reported = ?", (timestamp,))

    def trades(self) -> Columns:
        """Every closed trade, oldest first, columns as in ``trade_logs``."""
        return self._columns(f"SELECT {', '.join(TRADE)} FROM trades ORDER BY timestamp", TABLES["trade_logs"].columns)

    def hours(self) -> Columns:
        """A row for each hour, oldest first, as ``reports.report`` takes them."""
        names = ("timestamp", "equity", "close", "candles", "exposed")
        columns = tuple(Column(name, INTEGER if name == "timestamp" else NUMBER) for name in names)
        return self._columns(f"SELECT {', '.join(names)} FROM hours ORDER BY timestamp", columns)

    def report(self) -> Columns:
        """The newest report, columns as in ``reports``."""
        return self._columns(f"SELECT {', '.join(FIGURE)} FROM report ORDER BY rowid", FIGURES)

    def equity(self, after: int, limit: int) -> Columns:
        """The newest ``limit`` rows later than candle ``after``, columns as in ``equity``."""
        names = ", ".join(EQUITY)
        newest = f"SELECT {names} FROM candles WHERE timestamp > {after} ORDER BY timestamp DESC LIMIT {limit}"
        rows = self._columns(f"SELECT * FROM ({newest}) ORDER BY timestamp", TABLES["equity"].columns[:-1])
        rows["status"] = np.full(len(rows["timestamp"]), OK, object)
        return rows

    def versions(self) -> dict[str, int]:
        """A number for each table that is exported whole; it changes when the table does."""
        trades, reported = self._one("SELECT (SELECT count(*) FROM trades), reported FROM standing")
        return {"trade_logs": trades, "reports": reported}

    def exported(self, name: str) -> tuple[int, int] | None:
        """The version of a table that was last exported, and the size of the file in bytes."""
        with self._plainly():
            return self._db.execute("SELECT version, size FROM exports WHERE name = ?", (name,)).fetchone()

    def set_exported(self, name: str, version: int, size: int) -> None:
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO exports VALUES (?, ?, ?)", (name, version, size))

    def _check(self) -> None:
        """Refuse a file that is not ours before anything is written to it."""
        if self._is_ours():
            version = self._pragma("user_version")
            if version not in (1, VERSION):
                raise PipelineError(f"{self.path}: is a ledger of version {version}, this program knows {VERSION}")
        elif self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise self._damaged("it is another program's database")

    def _is_ours(self) -> bool:
        return self._pragma("application_id") == APPLICATION_ID

    def _pragma(self, name: str) -> int:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _create(self, capital: float) -> None:
        # The script's own BEGIN keeps tables, first row and header in one transaction.
        self._db.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
        self._db.execute(
            "INSERT INTO standing VALUES (1, ?, ?, NULL, ?, NULL, NULL)",
            (capital, capital, json.dumps(asdict(Account(capital)))),
        )
        self._db.execute("COMMIT")

    def _one(self, query: str) -> tuple:
        with self._plainly():
            return self._db.execute(query).fetchone()

    def _columns(self, query: str, columns: tuple[Column, ...]) -> Columns:
        with self._plainly():
            rows = self._db.execute(query).fetchall()
        return from_rows(columns, rows)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise PipelineError(f"{self.path}: cannot be read or written ({error})") from error
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise PipelineError(f"{self.path}: cannot be opened ({error.strerror})") from error

    def _damaged(self, why: str) -> PipelineError:
        return PipelineError(
            f"{self.path}: is no ledger of this program, or a damaged one ({why}); put a good copy back,"
            " or move the file and its -wal away to start a new ledger"
        )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _account(stored: dict) -> Account:
    position, order = stored["position"], stored["order"]
    return Account(
        stored["cash"],
        Position(**{**position, "order": Decision(**position["order"])}) if position else None,
        Decision(**order) if order else None,
        stored.get("waiting", 0),  # a ledger of version 1 knew no latency
    )
