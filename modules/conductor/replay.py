"""The live cycle for each minute of a candle file."""

import sys
import time
from datetime import UTC, datetime

import numpy as np

from modules.conductor.cycle import cycle, must_be_trained
from modules.core import catalog
from modules.core.errors import SettingsError
from modules.core.module import Run
from modules.core.tables import Columns, datetime_ist
from modules.core.telemetry import Progress
from modules.core.words import DAY_MINUTES, MINUTE_MS, NEUTRAL
from modules.evaluation.batch import with_history
from modules.evaluation.live_stats import live_figures
from modules.m1_data_engine import model
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.feeds import FileFeed


def replay(run: Run, minutes: int | None = None, start: int | None = None, end: int | None = None, quiet: bool = False) -> int:
    """Decide each minute of the candle file that comes after the newest one already decided.

    After a day or more of minutes ``performance/live_stats.csv`` says what the live rows were worth.

    Warm-up candles come from the workspace's history where the file follows it without a gap, else from the file's own
    beginning. Ctrl-C stops between two writes without harm: the next call goes on there.

    Parameters
    ----------
    minutes : how many at most
    start, end : stamps of the first and the last minute, Unix ms
    """
    if run.candles is None:
        raise SettingsError("--replay needs a candle file: --candles FILE")
    must_be_trained(run)
    with run.workspace.held(), Progress(quiet) as progress:
        candles, repairs = read_candles(run.candles, run.settings.data.max_gap_minutes)
        feed, stamps = _ahead(run, candles)
        run.source = FileFeed(feed, _extras(run))
        stamps = stamps[(stamps >= (start or 0)) & (stamps <= (end or stamps.max(initial=0)))][:minutes]
        spans, fallen = [], 0
        progress.step(f"replay of {run.candles.name}", max(1, len(stamps)))
        for stamp in stamps:
            began = time.perf_counter()
            outcomes = cycle(run, int(stamp))
            spans.append((time.perf_counter() - began) * 1e3)
            fallen += any(outcome.fell_back for outcome in outcomes)
            progress.advance()
        progress.done()
        judged = len(stamps) >= DAY_MINUTES
        if judged:
            progress.step("what the live rows were worth")
            run.workspace.write("live_stats", live_figures(run).columns())
            progress.done()
    if not quiet:
        for repair in repairs:
            print(f"repaired: {repair}")
        _tell(run, stamps, spans, fallen, judged)
    return 3 if fallen else 0


def stamp_of(text: str) -> int:
    """A stamp in Unix ms from what a person types: Unix ms, ``2024-04-01`` or ``2024-04-01T12:30``, UTC.

    Raises
    ------
    SettingsError : it is neither
    """
    try:
        if text.isdecimal():
            return int(text)
        time_of = datetime.fromisoformat(text)
        return int((time_of if time_of.tzinfo else time_of.replace(tzinfo=UTC)).timestamp() * 1000)
    except ValueError as error:
        raise SettingsError(f"{text!r} is no time: write 2024-04-01 or 2024-04-01T12:30 (UTC), or Unix ms") from error


def _ahead(run: Run, candles: Columns) -> tuple[Columns, np.ndarray]:
    """What the feed offers, and the minutes of the file that can be decided and are not yet."""
    stamps = candles["timestamp"]
    decided = run.workspace.newest("final_signals")
    if decided is not None:
        if run.workspace.newest("equity") != decided:
            decided -= MINUTE_MS  # killed after the decision and before the executor's last write: once more
        stamps = stamps[stamps > decided]
        if len(stamps) and stamps[0] == decided + MINUTE_MS:
            return candles, stamps  # the live tables hold the warm-up
    names = run.artifacts.entry("scaler_{k}_export", 0)["features"]
    joined = with_history(run, candles)
    warm = joined["timestamp"][model.rows_needed(names) - 1 :]
    return joined, stamps[np.isin(stamps, warm)]


def _extras(run: Run) -> dict[str, Columns]:
    names = [name for name in catalog.EXTRAS if run.workspace.exists(f"{name}_history")]
    return {name: run.workspace.read(f"{name}_history") for name in names}


def _tell(run: Run, stamps: np.ndarray, spans: list[float], fallen: int, judged: bool) -> None:
    if not len(stamps):
        print(
            "nothing to do: every minute of the file is decided already, too early for the warm-up,"
            " or not between --from and --to"
        )
        return
    if seen := int((stamps <= run.artifacts.fitted_to()).sum()):
        print(f"IN SAMPLE: the models learned from {seen} of these minutes; what the paper account made of them says nothing")
    final = run.workspace.archived("final_signals")
    here = final["timestamp"] >= stamps[0]
    trades = run.workspace.read("trade_logs") if run.workspace.exists("trade_logs") else {"timestamp": np.zeros(0)}
    print(
        f"{len(stamps)} minutes from {datetime_ist(int(stamps[0]))} to {datetime_ist(int(stamps[-1]))} IST,"
        f" {np.median(spans):.1f} ms a minute at the median, {fallen} with a fallback\n"
        f"{int((final['signal'][here] != NEUTRAL).sum())} signals other than NEUTRAL, {len(trades['timestamp'])} closed trades"
        f" in the ledger so far\n"
        f"see performance/reports.csv{', performance/live_stats.csv' if judged else ''} and processed/live/"
        f" under {run.workspace.root}"
    )
    sys.stdout.flush()
