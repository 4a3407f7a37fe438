"""What the trained pipeline would have earned on a candle file that it has not learned from."""

from dataclasses import replace

import numpy as np

from modules.core import evidence
from modules.core.errors import NotTrainedError, PipelineError, SettingsError
from modules.core.module import Run
from modules.core.settings import Costs
from modules.core.statistics import LEAST_DAYS
from modules.core.tables import Columns, datetime_ist
from modules.core.telemetry import Progress
from modules.core.words import NEUTRAL
from modules.evaluation.batch import live_tables, with_history
from modules.evaluation.engine import Orders, Simulation, simulate
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.predictor import scaling
from modules.m1_data_engine.trainer import history_extras
from modules.m5_meta_fusion import model as m5
from modules.m5_meta_fusion.predictor import fusion
from modules.m6_executor.reports import HOLD, HOUR_MS, Course, report

RULES = ("fused", "strict")
HELD = "buy and hold"
TOLD = ("win_rate", "mean_net_bps_a_trade", "total_return", "max_drawdown")


def backtest(run: Run, start: int | None = None, end: int | None = None, quiet: bool = False) -> int:
    """Trade the candle file on paper, all at once, and write ``performance/backtest_stats.csv``.

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
        candles = with_history(run, read)
        stamps, orders = decisions(run, candles)
        wanted = (stamps > learned) & (stamps >= (start or 0)) & (stamps <= (stamps[-1] if end is None else end))
        if not wanted.any():
            raise PipelineError(
                f"{run.candles}: no candle to trade: each is warm-up, not between --from and --to,"
                f" or no later than {datetime_ist(learned)} IST, up to where the models were fitted"
            )
        traded = {name: values[np.isin(candles["timestamp"], stamps[wanted])] for name, values in candles.items()}
        figures = measure(run, traded, {rule: _at(its, wanted) for rule, its in orders.items()})
        run.workspace.write("backtest_stats", figures)
        progress.done()
    if not quiet:
        for repair in repairs:
            print(f"repaired: {repair}")
        print(f"{wanted.sum()} of {len(read['timestamp'])} candles traded; the others are warm-up, learned from or not asked for")
        _tell(figures)
        print(f"see {run.workspace.path('backtest_stats')}")
    return 0


def decisions(run: Run, candles: Columns) -> tuple[np.ndarray, dict[str, Orders]]:
    """What each rule of the trained fusion decides at every candle's close.

    Parameters
    ----------
    candles : M closed candles without a gap, the first ones for warm-up

    Returns
    -------
    stamps : (N,) Unix ms, the candles that were decided
    orders : rule -> N orders. As in the live cycle, a candle that lacks a feature is NEUTRAL.
    """
    tables = live_tables(run, candles, history_extras(run, candles["timestamp"]))
    features, regime = tables["live_features"], tables["current_regime"]
    said = evidence.history(run.workspace, features["timestamp"], lag=0)
    coming, warning, specialist = (tables[name] for name in ("next_regime_probs", "early_warnings", "specialist_signals"))
    signals = m5.gather(features, coming, regime, warning, specialist, said)
    known = ~np.isnan(np.stack([features[name] for name in scaling(run)[0]])).any(0)
    orders = {}
    for rule in RULES:
        decided = m5.decide(fusion(run), signals, run.settings, rule)
        sign = np.where(decided.side == m5.BUY, 1, -1)
        side = np.where(known & (decided.signal != NEUTRAL), sign, 0)
        orders[rule] = Orders(side, decided.stop, decided.target, decided.size)
    return features["timestamp"], orders


def measure(run: Run, candles: Columns, orders: dict[str, Orders]) -> Columns:
    """The rows of ``backtest_stats``: those of the executor's report, for each rule and for what needs no model.

    Parameters
    ----------
    candles : N candles without a gap
    orders : rule -> N orders at their closes
    """
    settings, stamps = run.settings, candles["timestamp"]
    costs, capital, horizon = settings.costs, settings.executor.capital, settings.labels.horizon
    nothing = np.zeros(len(stamps))
    simulations = {f"{rule} rule": simulate(candles, its, costs, horizon, capital) for rule, its in orders.items()}
    simulations["always NEUTRAL"] = simulate(candles, Orders(nothing, nothing, nothing, nothing), costs, horizon, capital)
    simulations[HELD] = hold(candles["close"], costs, capital)
    span = f"{datetime_ist(int(stamps[0]))} to {datetime_ist(int(stamps[-1]))} IST, out of sample, after costs"
    parts = []
    for name, simulation in simulations.items():
        columns = report(*accounts(simulation, candles, costs, capital), capital, costs, settings.learning.seed)
        columns["scope"] = np.full(len(columns["figure"]), f"{name}, {span}", object)
        if name == HELD:  # nothing has to beat itself
            itself = columns["baseline_is"] == HOLD
            columns["baseline"][itself], columns["baseline_is"][itself] = np.nan, ""
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def accounts(simulation: Simulation, candles: Columns, costs: Costs, capital: float) -> tuple[Columns, Columns, Course]:
    """A simulation as ``m6_executor.reports.report`` takes it: its trades, its hours and its course."""
    stamps, close = candles["timestamp"], candles["close"]
    equity, exposed = simulation.equity(close), simulation.held(len(close)) != 0
    hour = stamps // HOUR_MS * HOUR_MS
    first = np.flatnonzero(np.diff(hour, prepend=-1))
    last = np.append(first[1:], len(hour)) - 1
    hours = {
        "timestamp": hour[first],
        "equity": equity[last],
        "close": close[last],
        "candles": last - first + 1,
        "exposed": np.add.reduceat(exposed.astype(int), first),
    }
    begun = Course.begin(int(stamps[0]), float(close[0]), capital, costs)
    peak, hold_peak = (np.maximum.accumulate(np.maximum(level, at)) for level, at in ((equity, capital), (close, begun.basis)))
    course = replace(
        begun,
        close=float(close[-1]),
        peak=float(peak[-1]),
        drawdown=max(0.0, float((1 - equity / peak).max())),
        hold_peak=float(hold_peak[-1]),
        hold_drawdown=max(0.0, float((1 - close / hold_peak).max())),
    )
    trades = simulation.trades
    times = {"timestamp": stamps[trades["entered"]], "exit_timestamp": stamps[trades["exited"]]}
    return trades | times, hours, course


def hold(close: np.ndarray, costs: Costs, capital: float) -> Simulation:
    """All of the capital bought at the first of (N,) closes and sold at the last, after costs: one trade."""
    entry, fill = close[0] * (1 + costs.slippage), close[-1] * (1 - costs.slippage)
    quantity, last = capital / (entry * (1 + costs.fee)), len(close) - 1
    pnl = quantity * fill * (1 - costs.fee) - capital
    slipped = quantity * (entry - close[0] + close[-1] - fill)
    trade = {
        "entered": 0,
        "exited": last,
        "pnl": pnl,
        "pnl_bps": 1e4 * pnl / (quantity * entry),
        "costs": costs.fee * quantity * (entry + fill) + slipped,
    }
    trades = {name: np.array([value]) for name, value in trade.items()}
    return Simulation(trades, np.array([0, last]), np.array([capital, 0, capital + pnl]), np.array([0, quantity, 0]))


def _at(orders: Orders, rows: np.ndarray) -> Orders:
    return Orders(orders.side[rows], orders.stop[rows], orders.target[rows], orders.size[rows])


def _tell(figures: Columns) -> None:
    for scope in dict.fromkeys(figures["scope"]):
        rows = {figures["figure"][at]: at for at in np.flatnonzero(figures["scope"] == scope)}
        print(f"{scope}: trades {figures['n'][rows['trades']]}")
        for name in TOLD:
            value, low, high, base = (figures[column][rows[name]] for column in ("value", "low", "high", "baseline"))
            sure = f"   95 % {low:.4f} to {high:.4f}" if np.isfinite(low) else f"   no interval: on fewer than {LEAST_DAYS} days"
            beat = f"   to beat {base:.4f}, {figures['baseline_is'][rows[name]]}" if np.isfinite(base) else ""
            if np.isfinite(value):
                print(f"  {name:20s} {value:10.4f}{'' if name == 'max_drawdown' else sure}{beat}")
