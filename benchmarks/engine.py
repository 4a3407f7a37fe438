"""The engine alone beside a plain Python loop, on one rule and in one run.

usage: python -m benchmarks.engine --candles FILE [--rows 200000]

The rule: EMA 20/60 crosses of the close from the 60th candle on, both sides, a cross against the position reverses it;
stop 2 and target 3 Wilder ATR 14 from the close; fills at the next open; 0.1 % a side, no slippage; 1 BTC. Indicators
are computed before the clock starts, for both.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.evaluation.engine import PRICES, Orders, Simulation, simulate
from modules.m1_data_engine.candle_files import read_candles

COSTS = Costs(fee=0.001, slippage=0.0)
CAPITAL = 1e6
FAST, SLOW, ATR, STOP_ATR, TARGET_ATR = 20, 60, 14, 2.0, 3.0
REPEATS = 15


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


def engine(candles: Columns, orders: Orders) -> Simulation:
    """The rule's trades by the engine."""
    return simulate(candles, orders, COSTS, None, CAPITAL, reverse=True, coins=1.0)


def plain_loop(candles: Columns, orders: Orders) -> list[float]:
    """The net return of each of the rule's trades, candle by candle."""
    columns = (*(candles[name] for name in PRICES[:3]), orders.side, orders.stop, orders.target)
    position, order, entry, stop, target, order_stop, order_target = 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0
    returns: list[float] = []

    def close(price: float) -> None:
        returns.append(position * (price / entry - 1) - COSTS.fee * (1 + price / entry))

    for opened, high, low, side, its_stop, its_target in zip(*(values.tolist() for values in columns), strict=True):
        if order and order != position:
            if position:
                close(opened)
            position, entry, stop, target = order, opened, order_stop, order_target
        if position:
            stopped = low <= stop if position > 0 else high >= stop
            worse, better = (min, max) if position > 0 else (max, min)
            if stopped or (high >= target if position > 0 else low <= target):
                close(worse(stop, opened) if stopped else better(target, opened))
                position = 0
        order, order_stop, order_target = side, its_stop, its_target
    return returns


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    spans = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        spans.append(time.perf_counter() - began)
    return min(spans)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    candles, _ = read_candles(options.candles)
    candles = {name: candles[name][-options.rows :] for name in PRICES}
    orders, rows = crosses(candles), len(candles["close"])
    trades, returns = engine(candles, orders).trades, plain_loop(candles, orders)
    spans = [best(lambda: engine(candles, orders)), best(lambda: plain_loop(candles, orders))]
    for name, net, span in zip(("engine", "plain loop"), (trades["pnl_bps"] / 1e4, np.array(returns)), spans, strict=True):
        print(
            f"{name:10s} {rows / span / 1e6:6.1f} M candles/s  {1e3 * span:6.1f} ms"
            f"  {len(net)} trades  mean net {100 * net.mean():.4f} %"
        )
    print(f"ratio {spans[1] / spans[0]:.1f}; net {trades['pnl'].sum():+,.0f} USD on 1 BTC")


if __name__ == "__main__":
    main()
