"""How good all of it was: every strategy, every probability and every regime label on candles that were not learned from."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from modules.core import labels
from modules.core.catalog import CURVE, GROUP, NEXT
from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.settings import Costs, Settings
from modules.core.statistics import (
    LEAST_DAYS,
    Figures,
    day_bootstrap,
    interval,
    mean,
    regime_figures,
    share,
    warning_figures,
    warning_precision,
)
from modules.core.tables import Columns, datetime_ist, from_rows
from modules.core.words import BUY, DAY_MINUTES, MINUTE_MS, REGIMES, SELL, session_names
from modules.evaluation import luck, tries
from modules.evaluation.engine import REASONS, TARGET, TIME, Orders, Simulation, simulate
from modules.evaluation.strategies import YARDSTICKS, at_random, judged, strategies
from modules.evaluation.tries import Tried
from modules.evaluation.verdict import SURE, verdict
from modules.m6_executor.funding import funding_due
from modules.m6_executor.model import pays_funding
from modules.m6_executor.reports import HOLD, HOUR_MS, UNFUNDED, Course, report

HELD = "buy and hold"
TOLD = ("win_rate", "mean_net_bps_a_trade", "total_return", "max_drawdown")
"""Figures of each strategy that the command says aloud."""
FINE_DAYS = 14
"""Days up to which curves over time have a point each hour; beyond it, each day."""
PARTS = 16
"""Parts of the time that are split in halves for the probability of overfitting."""
ROUND_TRIP = "fees and slippage of a round trip, bps"
"""The figure beside which ``baseline_is`` holds all of [costs] as it was set."""
JUDGED = "judged: "
"""The figure that names the strategy of ``[fusion] rule``, which the verdict and the hopes are about, begins so."""
TRIED = "strategies tried so far"
UNCHOSEN = Tried(1, float("nan"))
"""The tries of what nobody chose among others."""
WHEN = "Unix ms UTC"


@dataclass(frozen=True)
class Evaluation:
    """Rows for the catalog's ``FIGURES``, ``CURVE`` and ``GROUP``."""

    stats: Columns
    curves: Columns
    groups: Columns


@dataclass(frozen=True)
class Traded:
    """A strategy after its simulation: its account at each of N closes, its returns a day, and its T closed trades."""

    simulation: Simulation
    equity: np.ndarray
    returns: np.ndarray
    outcomes: luck.Outcomes

    @property
    def count(self) -> int:
        return len(self.outcomes.side)


def conclude(run: Run, said: Columns, mode: str) -> list[str]:
    """Measure what was said, log the tries, write the mode's tables, and tell the figures that matter, in lines.

    Raises
    ------
    PipelineError : there is no candle after which enough candles came; nothing is logged then
    """
    stamps, horizon = said["timestamp"], run.settings.labels.horizon
    if not len(_judgeable(stamps, horizon)):
        raise PipelineError(
            f"{len(stamps)} candles from {datetime_ist(int(stamps[0]))} IST on are too few to judge anything:"
            f" {horizon + 2} in a row are needed"
        )
    table = run.workspace.read("funding_history") if run.workspace.exists("funding_history") else None
    traded = trade(said, run.settings, table)
    span = stamps[[0, -1]].tolist()
    tries.record(
        run.workspace,
        [
            tries.Try(
                mode,
                name,
                # What did the same on the same candles is the same try, however it was made.
                tries.key(name, span, its.returns.tolist()),
                luck.moments(its.returns).sharpe,
                len(its.returns),
                its.count,
            )
            for name, its in traded.items()
            if not _yardstick(name)
        ],
    )
    found = evaluate(said, traded, run.settings, tries.tried(run.workspace))
    for what, columns in (("stats", found.stats), ("curves", found.curves), ("groups", found.groups)):
        run.workspace.write(f"{mode}_{what}", columns)
    return [*_lines(found.stats), f"see {run.workspace.path(f'{mode}_stats')}; --report makes a page of it"]


def trade(said: Columns, settings: Settings, funding: Columns | None = None) -> dict[str, Traded]:
    """Every strategy on N candles in a row, by its name.

    Parameters
    ----------
    said : (N,) columns of ``catalog.SAID`` and ``timestamp``
    funding : a table of funding rates; None takes the constant of the settings
    """
    costs, capital = settings.costs, settings.executor.capital
    candles = said | {"funding": funding_due(said["timestamp"], None, costs, funding)}

    def run(orders: Orders) -> Simulation:
        return simulate(candles, orders, costs, settings.labels.horizon, capital, settings.executor.reverses)

    runs = {name: run(orders) for name, orders in strategies(said, settings).items()}
    random, orders = at_random(said, settings, runs[judged(settings)].trades["side"])
    runs |= {random: run(orders), HELD: hold(candles, costs, capital)}
    return {name: _traded(said, run, costs, capital) for name, run in runs.items()}


def evaluate(said: Columns, traded: dict[str, Traded], settings: Settings, tried: Tried = UNCHOSEN) -> Evaluation:
    """Everything that can be measured on N candles in a row.

    Parameters
    ----------
    said : (N,) columns of ``catalog.SAID`` and ``timestamp``
    traded : what ``trade`` made of them
    tried : strategies tried so far, these among them; a yardstick is measured as the one try that it is
    """
    stamps = said["timestamp"]
    span = f"{datetime_ist(int(stamps[0]))} to {datetime_ist(int(stamps[-1]))} IST, out of sample"
    stats, curves, figures, ahead = [], _Curves(), Figures(), _Ahead.of(said, settings)
    held = _account(traded[HELD], said, settings)
    for name, its in traded.items():
        stats.append(
            _strategy(name, f"{name}, {span}, after costs", its, said, settings, UNCHOSEN if _yardstick(name) else tried, held)
        )
    everything, ours = f"all strategies, {span}, after costs", judged(settings)
    figures.add(everything, f"{JUDGED}{ours}", 1, len(stamps), baseline_is="[fusion] rule")
    costs = ", ".join(f"{name} {value}" for name, value in asdict(settings.costs).items())
    figures.add(everything, ROUND_TRIP, 1e4 * settings.costs.round_trip, len(stamps), baseline_is=costs)
    _overfitting(figures, everything, traded, tried.count)
    _models(figures, curves, span, said, ahead, settings)
    _money(curves, traded, stamps, settings)
    _by_confidence(curves, said, ahead, settings)
    joined = _together(*stats, figures.columns())
    joined = _together(joined, _hoped_for(joined, f"hoped for, {span}, after costs", ours))
    return Evaluation(joined, curves.columns(), _groups(said, traded, settings))


# Strategies


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


def hold(candles: Columns, costs: Costs, capital: float) -> Simulation:
    """All of the capital bought at the first of (N,) closes and sold at the last, after costs: one trade.

    Parameters
    ----------
    candles : (N,) open, close and funding, the latter as ``simulate`` takes it
    """
    close = candles["close"]
    entry, fill = close[0] * (1 + costs.slippage), close[-1] * (1 - costs.slippage)
    quantity, last = capital / (entry * (1 + costs.fee)), len(close) - 1
    due = np.flatnonzero(candles["funding"][1:]) + 1 if pays_funding(1, costs) else np.zeros(0, int)
    paid = np.cumsum(quantity * candles["open"][due] * candles["funding"][due])
    funding = float(paid[-1]) if len(paid) else 0.0
    pnl = quantity * fill * (1 - costs.fee) - funding - capital
    slipped = quantity * (entry - close[0] + close[-1] - fill)
    trade = {
        "decided": 0,
        "entered": 0,
        "exited": last,
        "side": 1,
        "entry": entry,
        "exit": fill,
        "exit_reason": REASONS[TIME],
        "quantity": quantity,
        "pnl": pnl,
        "pnl_bps": 1e4 * pnl / (quantity * entry),
        "costs": costs.fee * quantity * (entry + fill) + slipped + funding,
        "funding": funding,
        "equity": capital + pnl,
    }
    trades = {name: np.array([value]) for name, value in trade.items()}
    cash, held = [capital, 0.0, *-paid, capital + pnl], [0.0, *np.full(1 + len(due), quantity), 0.0]
    return Simulation(trades, np.array([0, *due, last]), np.array(cash), np.array(held))


def _traded(said: Columns, run: Simulation, costs: Costs, capital: float) -> Traded:
    trades, equity = run.trades, run.equity(said["close"])
    side, slip = trades["side"], costs.slippage
    price = trades["entry"] / (1 + side * slip)
    notional = trades["quantity"] * trades["entry"]
    outcomes = luck.Outcomes(
        side,
        trades["exit"] / (1 - side * slip) / price,
        notional / np.maximum(trades["equity"] - trades["pnl"], 1e-9),
        trades["exit_reason"] == REASONS[TARGET],
        trades["funding"] / (trades["quantity"] * price),
    )
    return Traded(run, equity, luck.returns_by_day(equity, said["timestamp"], capital), outcomes)


def _yardstick(name: str) -> bool:
    return name.startswith((HELD, *YARDSTICKS))


def _account(its: Traded, said: Columns, settings: Settings) -> Columns:
    """The executor's report of a strategy."""
    costs, capital = settings.costs, settings.executor.capital
    return report(*accounts(its.simulation, said, costs, capital), capital, costs, settings.learning.seed)


def _strategy(name: str, scope: str, its: Traded, said: Columns, settings: Settings, tried: Tried, held: Columns) -> Columns:
    """The verdict, the executor's report, and what tells skill from luck.

    Parameters
    ----------
    held : the executor's report of buying and holding, whose figures are to be beaten: with its funding, which the
        executor, who holds nothing, does not know
    """
    costs, seed = settings.costs, settings.learning.seed
    trades = its.simulation.trades
    columns = _account(its, said, settings)
    columns["scope"] = np.full(len(columns["figure"]), scope, object)
    for at in np.flatnonzero(np.isin(columns["baseline_is"], (HOLD, UNFUNDED))):
        value = held["value"][held["figure"] == columns["figure"][at]][0]
        # Nothing has to beat itself.
        columns["baseline"][at], columns["baseline_is"][at] = (np.nan, "") if name == HELD else (value, HOLD)
    figures, count = Figures(), len(trades["pnl"])
    at = np.flatnonzero(columns["figure"] == "mean_net_bps_a_trade")[0]
    a_trade = float(columns["low"][at]), float(columns["high"][at])
    told, found = verdict(its.returns, trades["pnl"], tried.count, seed, a_trade), luck.moments(its.returns)
    figures.add(scope, f"verdict: {told.words}", 1, count, baseline_is=told.why)
    if not count:
        return _together(figures.columns(), columns)
    figures.add(scope, "mean_net_bps_of_equity_a_day", told.mean, found.days, told.low, told.high, 0.0, "no trade")
    for figure, statistic, sums in (
        ("sharpe_of_daily_returns_annualised", luck.sharpe, luck.sharpe_sums(its.returns)),
        ("sortino_of_daily_returns_annualised", luck.sortino, luck.sortino_sums(its.returns)),
    ):
        value = luck.ANNUAL * float(statistic(sums.sum(0)[None])[0])
        low, high = interval(statistic, sums, seed) if np.isfinite(value) else (np.nan, np.nan)
        value = value if np.isfinite(value) else np.nan  # no day lost, or all days alike
        figures.add(scope, figure, value, found.days, luck.ANNUAL * low, luck.ANNUAL * high, 0.0, "no trade")
    for figure, value, words in (
        ("probabilistic_sharpe", luck.probabilistic_sharpe(found), "asked for"),
        (
            "deflated_sharpe",
            told.deflated,
            f"asked for, after {tried.count} tries" if tried.count > 1 else "asked for, after 1 try",
        ),
    ):
        figures.add(scope, figure, value, found.days, baseline=SURE, baseline_is=words)
    if np.isfinite(tried.variance):
        by_paper = luck.deflated_sharpe(found, tried.count, tried.variance)
        words = "asked for; by the variance of the tries' own ratios, as in the paper, which is not the verdict's"
        figures.add(scope, "deflated_sharpe_by_the_spread_of_the_tries", by_paper, found.days, baseline=SURE, baseline_is=words)
    needed = luck.track_record(found)
    if np.isfinite(needed):
        words = f"days that there are; needed for a probabilistic Sharpe ratio of {SURE}, were the others like these"
        figures.add(scope, "track_record_needed_days", needed, found.days, baseline=found.days, baseline_is=words)
    rows = np.concatenate([trades["entered"], trades["exited"]])
    fills = np.concatenate([trades["quantity"] * trades[price] for price in ("entry", "exit")])
    figures.add(scope, "turnover_a_day", *_ratio(luck.turnover_sums(rows, fills, its.equity), said["timestamp"], seed, count))
    fee = _ratio(its.outcomes.break_even(costs), said["timestamp"][trades["entered"]], seed, count)
    figures.add(scope, "break_even_fee", *fee, baseline=costs.fee, baseline_is="the fee a side that is set")
    return _together(figures.columns(), columns)


def _ratio(sums: np.ndarray, stamps: np.ndarray, seed: int, count: int) -> tuple[float, int, float, float]:
    """The ``luck.ratio`` of (N, 2) parts, the count that was given, and its 95 % interval over days."""
    value = float(luck.ratio(sums.sum(0)[None])[0])
    low, high = day_bootstrap(luck.ratio, sums, stamps, seed)
    if (sums >= 0).all():  # few days widen an interval beyond what such a figure can be
        low = np.maximum(low, 0)
    return value, count, low, high


def _together(*parts: Columns) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _overfitting(figures: Figures, scope: str, traded: dict[str, Traded], tried: int) -> None:
    """The chance that the strategy that looks best here is not even average elsewhere."""
    figures.add(scope, TRIED, tried, tried)
    returns = [its.returns for name, its in traded.items() if its.count and name != HELD]
    if len(returns) < 2 or len(returns[0]) < 2 * PARTS:
        return
    found = luck.overfitting(np.stack(returns, 1), PARTS)
    name = f"probability of backtest overfitting, the best of {len(returns)} strategies that trade"
    figures.add(scope, name, found.pbo, len(found.logits), baseline=0.5, baseline_is="pure chance")
    figures.add(scope, "share of the splits in which the best one loses afterwards", found.loss, len(found.logits))
    if np.isfinite(found.slope):
        name, words = "what its Sharpe ratio keeps in the other half, slope over the splits", "what was found says nothing"
        figures.add(scope, name, found.slope, len(found.logits), baseline=0.0, baseline_is=words)


# Models


@dataclass(frozen=True)
class _Ahead:
    """What came after each candle, for the candles after which enough came: ``row`` are those, the others are theirs."""

    row: np.ndarray
    label: np.ndarray
    moved: np.ndarray
    net: dict[str, np.ndarray]

    @classmethod
    def of(cls, said: Columns, settings: Settings) -> "_Ahead":
        wanted, fusion = settings.labels, settings.fusion
        distance = labels.move_points(said["close"], wanted.move_points, wanted.move_bps)
        label, moved = labels.first_side(said["high"], said["low"], said["close"], distance, wanted.horizon)
        row = _judgeable(said["timestamp"], wanted.horizon)
        net = {}
        for name, side in ((BUY, 1), (SELL, -1)):
            gross = labels.barrier_outcome(said, said["atr"], side, fusion.stop_atr, fusion.target_atr, wanted.horizon)
            net[name] = gross[row] - settings.costs.round_trip
        return cls(row, label[row], moved[row], net)


def _judgeable(stamps: np.ndarray, horizon: int) -> np.ndarray:
    """The rows of (N,) candles whose next ``horizon`` + 1 candles are there, in a row."""
    reach = horizon + 1
    return np.flatnonzero(stamps[reach:] - stamps[:-reach] == reach * MINUTE_MS)


def _models(figures: Figures, curves: "_Curves", span: str, said: Columns, ahead: _Ahead, settings: Settings) -> None:
    """Regimes, early warnings, and whether each probability keeps its word."""
    seed, horizon = settings.learning.seed, settings.labels.horizon
    here = {name: values[ahead.row] for name, values in said.items()}
    stamps, given = here["timestamp"], here["warning"] != "none"
    chances = np.stack([said[column.name] for column in NEXT], 1)
    likeliest = np.array(REGIMES, object)[chances.argmax(axis=1)]
    regime_figures(figures, f"regime, {span}", said["timestamp"], said["regime"], likeliest, said["hindsight"], horizon, seed)
    warning_figures(figures, f"early warning, {span}", stamps, here["warning_probability"], given, ahead.moved, here["atr"], seed)
    month = np.array([datetime_ist(int(stamp))[:7] for stamp in stamps[:: DAY_MINUTES // 24]], object)
    month = np.repeat(month, DAY_MINUTES // 24)[: len(stamps)]
    for name in dict.fromkeys(month):
        part, scope = month == name, f"early warning in {name} IST, out of sample"
        warning_precision(figures, scope, stamps[part], given[part], ahead.moved[part], here["atr"][part], seed)
    later = said["hindsight"][np.minimum(ahead.row + horizon, len(said["hindsight"]) - 1)]
    chances, likeliest = chances[ahead.row], likeliest[ahead.row]
    next_is = f"regime {horizon} minutes ahead"
    for name, probability, happened in (
        ("early warning: a move comes", here["warning_probability"], ahead.moved),
        ("specialists: the upper side comes first", here["p_buy"], ahead.label == labels.BUY),
        ("specialists: the lower side comes first", here["p_sell"], ahead.label == labels.SELL),
        ("plain LightGBM: the upper side comes first", here["pooled_buy"], ahead.label == labels.BUY),
        ("plain LightGBM: the lower side comes first", here["pooled_sell"], ahead.label == labels.SELL),
        ("fusion: a BUY ends in profit after costs", here["profit_buy"], ahead.net[BUY] > 0),
        ("fusion: a SELL ends in profit after costs", here["profit_sell"], ahead.net[SELL] > 0),
        ("regime: as in hindsight", here["regime_confidence"], here["regime"] == here["hindsight"]),
        (f"{next_is}: the likeliest comes", chances.max(axis=1), likeliest == later),
        *((f"{next_is}: {name} comes", chances[:, i], later == name) for i, name in enumerate(REGIMES)),
    ):
        found = luck.calibration(probability, happened, stamps, seed)
        scope = f"calibration, {span}"
        value, low, high = mean((probability - happened) ** 2, stamps, seed)
        figures.add(scope, f"{name}: Brier score", value, len(stamps), low, high, found.uncertainty, "always the base rate")
        figures.add(scope, f"{name}: expected calibration error", found.error, len(stamps), baseline=0.0, baseline_is="its word")
        axes = ("probability said, 0..1", "share that happened, 0..1")
        curves.add(f"calibration: {name}", "found", axes, found.said, found.happened, found.low, found.high, found.n)


def _by_confidence(curves: "_Curves", said: Columns, ahead: _Ahead, settings: Settings) -> None:
    """What the side that promises more was worth, from every minute down to the surest one in a hundred."""
    promised = said["promised"][ahead.row]
    net = np.where(promised == BUY, ahead.net[BUY], ahead.net[SELL])
    for score in ("expected_bps", "confidence"):
        found = luck.selectivity(said[score][ahead.row], net, said["timestamp"][ahead.row], settings.learning.seed)
        x, n = 100 * found["coverage"], found["n"]
        by = f"ranked by {score}, a trade each minute"
        for plot, name, unit, scale in (
            ("selectivity: win rate", "win_rate", "win rate after costs, 0..1", 1),
            ("selectivity: expectancy", "mean_net", "mean net of a trade, bps after costs", 1e4),
        ):
            y, low, high = (scale * found[f"{name}{end}"] for end in ("", "_low", "_high"))
            curves.add(plot, by, ("share of the minutes taken, %", unit), x, y, low, high, n)


def _money(curves: "_Curves", traded: dict[str, Traded], stamps: np.ndarray, settings: Settings) -> None:
    """Equity, drawdown, and what might have happened."""
    seed = settings.learning.seed
    days = np.ptp(stamps) / (DAY_MINUTES * MINUTE_MS)
    period = HOUR_MS if days <= FINE_DAYS else DAY_MINUTES * MINUTE_MS
    last = np.append(np.flatnonzero(np.diff(stamps // period)), len(stamps) - 1)
    for name, its in traded.items():
        count = np.full(len(last), its.count)
        fallen = 100 * (its.equity / np.maximum.accumulate(its.equity) - 1)
        curves.add("equity", name, (WHEN, "equity at the close, USD"), stamps[last], its.equity[last], n=count)
        curves.add("drawdown", name, (WHEN, "below the highest equity so far, %"), stamps[last], fallen[last], n=count)
    percent = np.arange(1, 100)
    for name, its in traded.items():
        if its.count < 2:
            continue
        returns = np.maximum(its.outcomes.size * its.simulation.trades["pnl_bps"] / 1e4, -1 + 1e-9)
        deep = 100 * np.quantile(luck.drawdowns_in_any_order(returns, seed), percent / 100)
        final = 100 * np.quantile(luck.returns_by_slippage(its.outcomes, settings.costs, seed), percent / 100)
        count = np.full(len(percent), its.count)
        axes = ("share of the draws at or below, %", "deepest drawdown, %")
        curves.add("Monte Carlo: the same trades in any order", name, axes, percent, deep, n=count)
        axes = ("share of the draws at or below, %", "total return, %")
        curves.add("Monte Carlo: slippage drawn from 0.1 to 0.5 % a side", name, axes, percent, final, n=count)


# Tables


def _groups(said: Columns, traded: dict[str, Traded], settings: Settings) -> Columns:
    """Trades by the regime, session, month and hour in which they were decided."""
    stamps, rows = said["timestamp"], []
    for name, its in traded.items():
        if not its.count:
            continue
        trades = its.simulation.trades
        decided = trades["decided"]
        when = [datetime_ist(int(stamp)) for stamp in stamps[decided]]
        keys = {
            "regime": said["regime"][decided],
            "session": np.array(session_names(stamps[decided], settings.sessions.starts), object),
            "month": np.array([word[:7] for word in when], object),
            "hour": np.array([f"{word[11:13]} IST" for word in when], object),
        }
        for by, group in keys.items():
            for key in sorted(set(group)):
                part = group == key
                at, pnl, bps = stamps[decided[part]], trades["pnl"][part], trades["pnl_bps"][part]
                seed = settings.learning.seed
                rows.append((name, by, key, part.sum(), *share(pnl > 0, at, seed), *mean(bps, at, seed), pnl.sum()))
    return from_rows(GROUP, rows)


def _hoped_for(stats: Columns, scope: str, ours: str) -> Columns:
    """What the user hopes for, beside what was found of the strategy that is judged, and of the models."""
    figures = Figures()
    for start, figure, hoped, words in (
        (ours, "win_rate", 0.85, "hoped for: 85 to 90 %"),
        (ours, "profit_factor", 2.0, "hoped for"),
        (ours, "sharpe_of_daily_returns_annualised", 3.0, "hoped for"),
        (ours, "max_drawdown", 0.15, "hoped for: at most"),
        (ours, "mean_hold_minutes", 8.0, "hoped for: 8 to 15 minutes"),
        ("regime", "regime accuracy", 0.80, "hoped for"),
        ("regime", "where it changes, accuracy", 0.75, "hoped for"),
        ("early warning", "early warning precision", 0.85, "hoped for"),
    ):
        told = zip(stats["scope"], stats["figure"], strict=True)
        found = [i for i, (where, name) in enumerate(told) if where.startswith(f"{start}, ") and name.endswith(figure)]
        if not found:
            figures.add(scope, figure, np.nan, 0, baseline=hoped, baseline_is=words)
            continue
        at = found[0]
        value, low, high = (float(stats[column][at]) for column in ("value", "low", "high"))
        figures.add(scope, str(stats["figure"][at]), value, int(stats["n"][at]), low, high, hoped, words)
    return figures.columns()


def _lines(stats: Columns) -> list[str]:
    """The figures ``TOLD`` of each strategy, in words."""
    lines = []
    for scope in dict.fromkeys(stats["scope"]):
        rows = {stats["figure"][at]: at for at in np.flatnonzero(stats["scope"] == scope)}
        if "trades" not in rows:
            continue
        judged = next(at for figure, at in rows.items() if figure.startswith("verdict: "))
        lines.append(f"{scope}: {stats['figure'][judged].removeprefix('verdict: ')}. {stats['baseline_is'][judged]}")
        for name in TOLD:
            value, low, high, base = (stats[column][rows[name]] for column in ("value", "low", "high", "baseline"))
            sure = f"   95 % {low:.4f} to {high:.4f}" if np.isfinite(low) else f"   no interval: on fewer than {LEAST_DAYS} days"
            beat = f"   to beat {base:.4f}, {stats['baseline_is'][rows[name]]}" if np.isfinite(base) else ""
            if np.isfinite(value):
                lines.append(f"  {name:20s} {value:10.4f}{'' if name == 'max_drawdown' else sure}{beat}")
    return lines


class _Curves:
    """Points for a curves table (see ``catalog.CURVE``), gathered curve by curve."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(
        self,
        plot: str,
        curve: str,
        axes: tuple[str, str],
        x: np.ndarray,
        y: np.ndarray,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        n: np.ndarray | None = None,
    ) -> None:
        nothing, none = np.full(len(x), np.nan), np.zeros(len(x), int)
        ends = (nothing if low is None else low, nothing if high is None else high, none if n is None else n)
        self.rows += [(plot, curve, *axes, *point) for point in zip(x, y, *ends, strict=True)]

    def columns(self) -> Columns:
        return from_rows(CURVE, self.rows)
