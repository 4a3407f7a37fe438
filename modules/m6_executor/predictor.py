"""Trade the newest decisions on paper: each closed candle goes through the ledger once, and its CSVs follow the ledger.

The ledger is written first and exported after. Whatever a killed process left unexported, the next run exports.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from modules.core import telemetry
from modules.core.catalog import CANDLES_KEPT
from modules.core.errors import InputNotReady
from modules.core.module import Run, one_row, predictor_main
from modules.core.tables import Columns, datetime_ist
from modules.core.words import DAY_MINUTES, MINUTE_MS, OK
from modules.m6_executor.funding import funding_due
from modules.m6_executor.ledger import PATH, Ledger
from modules.m6_executor.model import Candle, Decision, step
from modules.m6_executor.reports import Course, report

TABLES = ("equity",)
DAY_MS = DAY_MINUTES * MINUTE_MS
NO_REGIME = "unknown"


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """Take the ledger through the candles it has not seen, up to ``timestamp``; the equity rows not yet exported.

    Raises
    ------
    InputNotReady : the candle of ``timestamp`` is missing; those before it are processed all the same
    """
    ledger = _ledger(run)
    newest = ledger.newest()
    candles = _candles(run, newest, timestamp)
    if candles:
        _process(run, ledger, candles)
    newest = ledger.newest()
    if newest is None:
        raise InputNotReady(f"candles_live has no row for {datetime_ist(timestamp)} IST")
    _export(run, ledger)
    if newest < timestamp:
        raise InputNotReady(f"candles_live has no row for {datetime_ist(timestamp)} IST")
    rows = ledger.equity(_equity_exported(run), CANDLES_KEPT)
    # With nothing new the newest row stands for "done"; writing it again changes nothing.
    return {"equity": rows if len(rows["timestamp"]) else ledger.equity(newest - 1, 1)}


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """The equity as its table last has it, or the capital before there was any; the status says why it is not newer."""
    values: dict[str, Any] = {"cash": run.settings.executor.capital, "position_value": 0.0, "position": 0.0}
    values["equity"] = values["cash"]
    if run.workspace.exists("equity"):
        last = run.workspace.read("equity", last=1)
        values = {name: float(last[name][-1]) if len(last[name]) else value for name, value in values.items()}
    return {"equity": one_row(timestamp, **values, status=why)}


def _ledger(run: Run) -> Ledger:
    """The ledger, kept open from one minute to the next."""
    ledger: Ledger | None = run.state.get("ledger")
    if ledger and not ledger.still_there():
        run.state.pop("ledger").close()
        ledger = None
    capital = run.settings.executor.capital
    if ledger is None:
        ledger = run.state["ledger"] = Ledger(run.workspace.root / PATH, capital)
    if capital != ledger.asked:
        ledger.remember_asked(capital)
        if capital != ledger.capital:
            told = f"the ledger began with {ledger.capital:g} USD and goes on"
            telemetry.log(run.workspace.root, f"m6_executor: {told}; [executor] capital = {capital:g} is not used")
    return ledger


def _candles(run: Run, newest: int | None, last: int) -> list[Candle]:
    """The candles after ``newest`` up to ``last``, or that one alone. One that fell back is none: its prices were never
    traded."""
    names = ("open", "high", "low", "close", "quote_volume")
    rows = {
        stamp: [float(row[name]) for name in names]
        for stamp, row in _rows(run, "candles_live", last if newest is None else newest + MINUTE_MS)
        if stamp <= last and not str(row["status"]).startswith("fallback")
    }
    costs = run.settings.costs
    told = run.workspace.read("funding_live") if costs.funding != "off" and run.workspace.exists("funding_live") else None
    due = funding_due(np.array(list(rows), np.int64), newest, costs, told)
    return [Candle(stamp, *(*row, owed)) for (stamp, row), owed in zip(rows.items(), due.tolist(), strict=True)]


def _decisions(run: Run, first: int) -> dict[int, Decision]:
    """The decisions made at each candle's close; none where the fusion fell back or has no row, which is NEUTRAL."""
    regimes = {stamp: str(row["regime"]) for stamp, row in _rows(run, "current_regime", first) if row["status"] == OK}
    return {
        stamp: Decision(
            stamp,
            str(row["signal"]),
            float(row["SL"]),
            float(row["TP"]),
            float(row["size"]),
            float(row["confidence"]),
            str(row["reason"]),
            regimes.get(stamp, NO_REGIME),
        )
        for stamp, row in _rows(run, "final_signals", first)
        if row["status"] == OK
    }


def _rows(run: Run, table: str, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a live table from candle ``first`` on, each with its stamp."""
    newest = run.workspace.newest(table) if run.workspace.exists(table) else None
    if newest is None or newest < first:
        return
    columns = run.workspace.read(table, last=(newest - first) // MINUTE_MS + 1)
    stamps = columns["timestamp"]
    for at in range(int(np.searchsorted(stamps, first)), len(stamps)):
        yield int(stamps[at]), {name: values[at] for name, values in columns.items()}


def _process(run: Run, ledger: Ledger, candles: list[Candle]) -> None:
    costs, horizon, seed = run.settings.costs, run.settings.labels.horizon, run.settings.learning.seed
    reverse = run.settings.executor.reverses
    decisions = _decisions(run, candles[0].timestamp)
    account, course = ledger.standing()
    before = ledger.newest()
    with ledger.transaction():  # one for all: after an outage of a day, each commit of its own would wait for the disk
        for candle in candles:
            decision = decisions.get(candle.timestamp)
            done = step(account, candle, decision, costs, horizon, reverse)
            account = done.account
            course = course or Course.begin(candle.timestamp, candle.close, ledger.capital, costs)
            course = course.after(candle.close, account.equity(candle.close))
            ledger.record(candle, decision, done, course)
            if done.trades or before is None or before // DAY_MS != candle.timestamp // DAY_MS:
                figures = report(ledger.trades(), ledger.hours(), course, ledger.capital, costs, seed)
                ledger.set_report(candle.timestamp, figures)
            before = candle.timestamp


def _export(run: Run, ledger: Ledger) -> None:
    """Write the tables that are exported whole, where the file is not the ledger's newest."""
    for name, version in ledger.versions().items():
        path = run.workspace.path(name)
        if path.is_file() and ledger.exported(name) == (version, path.stat().st_size):
            continue
        run.workspace.write(name, ledger.trades() if name == "trade_logs" else ledger.report())
        ledger.set_exported(name, version, path.stat().st_size)


def _equity_exported(run: Run) -> int:
    """The newest candle whose equity row is on disk as the ledger has it; rows that fell back do not count."""
    if not run.workspace.exists("equity"):
        return -1
    for last in (1, None):
        rows = run.workspace.read("equity", last=last)
        good = rows["timestamp"][rows["status"] == OK]
        if len(good):
            return int(good[-1])
    return -1


if __name__ == "__main__":
    sys.exit(predictor_main(sys.modules["__main__"]))
