"""One closed candle through all rooms, in order; live, and again every minute."""

import signal
from types import FrameType

from modules.core import clock, telemetry
from modules.core.errors import NotTrainedError
from modules.core.module import Outcome, Run, run_predictor
from modules.core.tables import datetime_ist
from modules.core.words import MINUTE_MS
from modules.m1_data_engine import predictor as m1
from modules.m1_data_engine.feeds import ExchangeFeed
from modules.m2_regime import predictor as m2
from modules.m3_specialist import predictor as m3
from modules.m4a_whale import predictor as m4a
from modules.m4b_sentiment import predictor as m4b
from modules.m5_meta_fusion import predictor as m5
from modules.m6_executor import predictor as m6

ORDER = (m1, m2, m3, m4a, m4b, m5, m6)
"""The live order. A new parallel room goes in before the fusion."""

FELL_BACK = 3
SETTLE_MS = 2_000
"""How long after a candle's close a cycle waits: the exchange needs a moment to publish it, and clocks differ."""


def cycle(run: Run, timestamp: int) -> list[Outcome]:
    """Run every room on one closed candle and log how each fared."""
    outcomes = [run_predictor(room, run, timestamp) for room in ORDER]
    told = ", ".join(f"{o.room} {o.milliseconds:.1f} ms{' FELL BACK' if o.fell_back else ''}" for o in outcomes)
    telemetry.log(run.workspace.root, f"candle {timestamp}: {told}")
    return outcomes


def must_be_trained(run: Run) -> None:
    """Raise before anything is written where there is no model yet."""
    if not run.artifacts.names():
        raise NotTrainedError(run.workspace.root)


def live(run: Run, quiet: bool = False) -> int:
    """One cycle on the newest closed candle of the exchange; 0, or 3 where a room fell back."""
    must_be_trained(run)
    run.source = run.source or ExchangeFeed(run.settings)
    timestamp = clock.newest_closed_ms()
    with run.workspace.held():
        clock.sleep(max(0.0, _due(timestamp) - clock.now_ms()) / 1e3)
        return _decide(run, timestamp, quiet)


def loop(run: Run, quiet: bool = False) -> int:
    """A cycle after each candle's close until Ctrl-C or a TERM signal, which lets the cycle at work end first."""
    must_be_trained(run)
    run.source = run.source or ExchangeFeed(run.settings)
    asked_to_stop = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with run.workspace.held():
            timestamp = clock.newest_closed_ms()
            while not asked_to_stop:
                wait_s = (_due(timestamp) - clock.now_ms()) / 1e3
                if wait_s > 0:
                    clock.sleep(min(0.5, wait_s))
                    continue
                _decide(run, timestamp, quiet)
                # A cycle that ends in the next minute must not cost that minute its own.
                timestamp = max(timestamp + MINUTE_MS, clock.newest_closed_ms())
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if not quiet:
        print("stopped after a whole cycle; start again with --loop, or let cron go on")
    return 0


def _decide(run: Run, timestamp: int, quiet: bool) -> int:
    outcomes = cycle(run, timestamp)
    fallen = [outcome for outcome in outcomes if outcome.fell_back]
    if not quiet:
        final = run.workspace.read("final_signals", last=1)
        print(f"{datetime_ist(timestamp)} IST  {final['signal'][-1]}  {final['reason'][-1]}")
        for outcome in fallen:
            print(f"  {outcome.room}: {outcome.status}")
    return FELL_BACK if fallen else 0


def _due(timestamp: int) -> int:
    """When the candle that opened at ``timestamp`` may be asked for, Unix ms."""
    return timestamp + MINUTE_MS + SETTLE_MS
