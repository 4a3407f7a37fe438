"""What the trained pipeline would have earned on a candle file that it has not learned from."""

from modules.core.errors import NotTrainedError, PipelineError, SettingsError
from modules.core.module import Run
from modules.core.tables import datetime_ist
from modules.core.telemetry import Progress
from modules.evaluation.batch import with_history
from modules.evaluation.measure import conclude
from modules.evaluation.testimony import testimony
from modules.m1_data_engine.candle_files import read_candles


def backtest(run: Run, start: int | None = None, end: int | None = None, quiet: bool = False) -> int:
    """Trade the candle file on paper, all at once, and write ``performance/backtest_*.csv``.

    Candles that any model was fitted on are never traded: a figure on them would flatter. Warm-up candles come from the
    workspace's history where the file follows it without a gap, else from the file's own beginning. The account starts
    flat with ``[executor] capital``.

    Parameters
    ----------
    start, end : stamps of the first and the last candle that is traded, Unix ms

    Raises
    ------
    NotTrainedError, PipelineError : there is no model yet; no candle of the file can be traded
    """
    if run.candles is None:
        raise SettingsError("--backtest needs a candle file: --candles FILE")
    names = run.artifacts.names()
    if not names:
        raise NotTrainedError(run.workspace.root)
    # The scalers count here: the newest one has seen the range of the newest chunk, the out-of-sample tail too.
    learned = max(run.artifacts.entry(name)["fitted_to"] for name in names)
    with run.workspace.held(), Progress(quiet) as progress:
        progress.step(f"backtest of {run.candles.name}")
        read, repairs = read_candles(run.candles, run.settings.data.max_gap_minutes)
        said = testimony(run, with_history(run, read))
        stamps = said["timestamp"]
        wanted = (stamps > learned) & (stamps >= (start or 0)) & (stamps <= (stamps[-1] if end is None else end))
        if not wanted.any():
            raise PipelineError(
                f"{run.candles}: no candle to trade: each is warm-up, not between --from and --to,"
                f" or no later than {datetime_ist(learned)} IST, up to where the models were fitted"
            )
        told = conclude(run, {name: values[wanted] for name, values in said.items()}, "backtest")
        progress.done()
    if not quiet:
        for repair in repairs:
            print(f"repaired: {repair}")
        print(f"{wanted.sum()} of {len(read['timestamp'])} candles traded; the others are warm-up, learned from or not asked for")
        print("\n".join(told))
    return 0
