"""The engine alone beside a plain Python loop and, where they are installed, backtesting.py and vectorbt, on one rule and
in one run: how fast, and whether each trade is the same.

usage: python -m benchmarks.engine --candles FILE [--rows 200000]

The two libraries go into an environment of their own: pip install -r requirements.txt -r benchmarks/requirements.txt

The rule: EMA 20/60 crosses of the close from the 60th candle on, both sides, a cross against the position reverses it;
stop 2 and target 3 Wilder ATR 14 from the close; fills at the next open; 0.1 % a side, no slippage; 1 BTC. Indicators
are computed before the clock starts, for all.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.evaluation.engine import PRICES, Orders, Simulation, simulate
from modules.m1_data_engine.candle_files import read_candles
from modules.m6_executor.funding import funding_due

COSTS = Costs(fee=0.001, slippage=0.0)
EVERY_OPTION = Costs(
    fee=0.001,
    slippage=0.0,
    maker_fee=0.0002,
    impact=0.0005,
    volume_share=0.5,
    latency=1,
    funding="both",
    funding_rate=0.0001,
)
CAPITAL = 1e6
FAST, SLOW, ATR, STOP_ATR, TARGET_ATR = 20, 60, 14, 2.0, 3.0
REPEATS = 7
TRADE = ("entered", "exited", "side", "entry", "exit", "net")


def smoothed(values: np.ndarray, alpha: float) -> np.ndarray:
    """(N,) recursive exponential mean, started with the first value."""
    result, level = [], float(values[0])
    for value in values.tolist():
        level += alpha * (value - level)
        result.append(level)
    return np.array(result)


def crosses(candles: Columns) -> Orders:
    """The rule's orders at the close of each of N candles."""
    high, low, close = (candles[name] for name in ("high", "low", "close"))
    before = np.concatenate([close[:1], close[:-1]])
    true_range = np.maximum(high, before) - np.minimum(low, before)
    true_range[0] = high[0] - low[0]
    atr = smoothed(true_range, 1 / ATR)
    above = smoothed(close, 2 / (FAST + 1)) > smoothed(close, 2 / (SLOW + 1))
    side = np.zeros(len(close), int)
    side[1:] = above[1:].astype(int) - above[:-1]
    side[:SLOW] = 0
    return Orders(side, close - side * STOP_ATR * atr, close + side * TARGET_ATR * atr, np.ones(len(close)))


def engine(candles: Columns, orders: Orders, costs: Costs = COSTS) -> Simulation:
    """The rule's trades by the engine."""
    return simulate(candles, orders, costs, None, CAPITAL, reverse=True, coins=1.0)


def plain_loop(candles: Columns, orders: Orders) -> Columns:
    """The rule's trades, candle by candle; columns as ``told``."""
    columns = (*(candles[name] for name in PRICES[:3]), orders.side, orders.stop, orders.target)
    position, order, entered, entry, stop, target, order_stop, order_target = 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0
    trades: list[tuple] = []

    def close(row: int, price: float) -> None:
        net = position * (price / entry - 1) - COSTS.fee * (1 + price / entry)
        trades.append((entered, row, position, entry, price, net))

    rows = zip(*(values.tolist() for values in columns), strict=True)
    for row, (opened, high, low, side, its_stop, its_target) in enumerate(rows):
        if order and order != position:
            if position:
                close(row, opened)
            position, entered, entry, stop, target = order, row, opened, order_stop, order_target
        if position:
            stopped = low <= stop if position > 0 else high >= stop
            worse, better = (min, max) if position > 0 else (max, min)
            if stopped or (high >= target if position > 0 else low <= target):
                close(row, worse(stop, opened) if stopped else better(target, opened))
                position = 0
        order, order_stop, order_target = side, its_stop, its_target
    return dict(zip(TRADE, np.array(trades, float).reshape(-1, len(TRADE)).T, strict=True))


def told(simulation: Simulation) -> Columns:
    """The trades of a simulation: rows of entry and exit, side, fills in USD, and the net return as a share."""
    trades = simulation.trades
    return {name: trades[name] for name in TRADE[:-1]} | {"net": trades["pnl_bps"] / 1e4}


def by_backtesting(candles: Columns, orders: Orders) -> tuple[Callable[[], object], Callable[[Any], Columns]]:
    """backtesting.py: what to time, and its answer's trades."""
    import pandas as pd
    from backtesting import Backtest, Strategy, backtesting

    backtesting._tqdm = lambda rows, **_: rows  # no progress bar
    side, stop, target = orders.side.tolist(), orders.stop.tolist(), orders.target.tolist()

    class Rule(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            row = len(self.data) - 1
            if side[row]:
                (self.buy if side[row] > 0 else self.sell)(size=1, sl=stop[row], tp=target[row])

    minutes = pd.date_range("2023-01-01", periods=len(side), freq="min")
    frame = pd.DataFrame({name.capitalize(): candles[name] for name in PRICES}, minutes)
    test = Backtest(frame, Rule, cash=CAPITAL, commission=COSTS.fee, exclusive_orders=True)

    def trades(stats: Any) -> Columns:
        its = stats["_trades"]
        names = ("EntryBar", "ExitBar", "Size", "EntryPrice", "ExitPrice", "ReturnPct")
        return {ours: its[theirs].to_numpy() for ours, theirs in zip(TRADE, names, strict=True)}

    return test.run, trades


def by_vectorbt(candles: Columns, orders: Orders) -> tuple[Callable[[], object], Callable[[Any], Columns]]:
    """vectorbt: what to time, and its answer's trades. Its orders fill in their own row, so they are moved to the next."""
    import pandas as pd
    import vectorbt

    side = np.append(0, orders.side[:-1])
    stop, target = (
        np.where(side, np.abs(1 - np.append(np.nan, level[:-1]) / candles["open"]), np.nan)
        for level in (orders.stop, orders.target)
    )
    close = pd.Series(candles["close"])

    def run() -> Any:
        return vectorbt.Portfolio.from_signals(
            close,
            entries=side > 0,
            short_entries=side < 0,
            price=candles["open"],
            size=1.0,
            fees=COSTS.fee,
            init_cash=CAPITAL,
            **{name: candles[name] for name in ("open", "high", "low")},
            sl_stop=stop,
            tp_stop=target,
            stop_entry_price="price",
            upon_opposite_entry="reverse",
        )

    def trades(portfolio: Any) -> Columns:
        its = portfolio.trades.records
        its = its[its["status"] == 1]  # closed
        names = ("entry_idx", "exit_idx", "direction", "entry_price", "exit_price", "return")
        found = {ours: its[theirs].to_numpy() for ours, theirs in zip(TRADE, names, strict=True)}
        return found | {"side": 1 - 2 * found["side"]}

    return run, trades


def differences(ours: Columns, theirs: Columns) -> dict[str, int]:
    """How many trades are the same in rows, side and prices (to a millionth of a USD), and why the others are not."""
    both, mine, their = np.intersect1d(ours["entered"], theirs["entered"], return_indices=True)
    lost = np.setdiff1d(ours["entered"], both)

    def near(name: str) -> np.ndarray:
        return np.abs(ours[name][mine] - theirs[name][their]) < 1e-6

    begun = near("side") & near("entry")
    same = begun & near("exited") & near("exit")
    entered, exited, late = ours["entered"][mine], ours["exited"][mine], theirs["exited"][their]
    at_once = begun & (exited == entered) & (late > exited)
    turned = begun & ~same & (late == exited) & np.isin(exited, ours["entered"])
    crowded = np.isin(lost, theirs["exited"])
    return {
        "the same": int(same.sum()),
        "theirs overlooks stop and target in the entry's own candle, in which ours ended": int(at_once.sum()),
        "theirs leaves at the stop or target of a candle at whose open ours had reversed": int(turned.sum()),
        "theirs has no entry, one order a candle: it left a position there": int(crowded.sum()),
        "unexplained": int((~same & ~at_once & ~turned).sum() + (~crowded).sum() + len(theirs["entered"]) - len(both)),
    }


def best(works: list[Callable[[], object]]) -> list[float]:
    """Processor seconds of the fastest of some runs of each, taken in turns so that a busy machine slows all alike."""
    spans = np.empty((REPEATS, len(works)))
    for turn in range(REPEATS):
        for at, work in enumerate(works):
            began = time.process_time()
            work()
            spans[turn, at] = time.process_time() - began
    return spans.min(0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    candles, _ = read_candles(options.candles)
    candles = {name: values[-options.rows :] for name, values in candles.items()}
    candles["funding"] = funding_due(candles["timestamp"], None, EVERY_OPTION)
    orders, rows = crosses(candles), len(candles["close"])
    trades = {"engine": told(engine(candles, orders)), "plain loop": plain_loop(candles, orders)}
    works: list[Callable[[], object]] = [lambda: engine(candles, orders), lambda: plain_loop(candles, orders)]
    for name, prepare in (("backtesting", by_backtesting), ("vectorbt", by_vectorbt)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: pip install -r benchmarks/requirements.txt")
            continue
        work, read = prepare(candles, orders)
        trades[name] = read(work())  # the first run compiles
        works.append(work)
    trades["engine, all options"] = told(engine(candles, orders, EVERY_OPTION))
    works.append(lambda: engine(candles, orders, EVERY_OPTION))
    spans = best(works)
    for (name, its), span in zip(trades.items(), spans, strict=True):
        print(
            f"{name:20s} {rows / span / 1e6:7.2f} M candles/s  {1e3 * span:7.1f} ms  {span / spans[0]:6.1f} x"
            f"  {len(its['net'])} trades  mean net {100 * its['net'].mean():.4f} %"
        )
    for name in list(trades)[1:-1]:
        print(f"{name}, trade for trade:")
        for what, count in differences(trades["engine"], trades[name]).items():
            print(f"  {count:5d} {what}")
    print(f"net {trades['engine']['net'] @ trades['engine']['entry']:+,.0f} USD on 1 BTC")


if __name__ == "__main__":
    main()
