"""A small market with decisions, fed to the executor as the live cycle does. Run as a program it goes on from wherever
the workspace stands, so that a test may kill it and start it again."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from modules.core.module import Run, one_row, run_predictor
from modules.core.settings import Settings, load_settings
from modules.core.words import MINUTE_MS, REGIMES
from modules.m6_executor import predictor

START = 1_711_929_600_000 + (23 * 60 + 30) * MINUTE_MS
"""Half an hour before a UTC midnight, so that a replay crosses it."""

EXPORTS = ("trade_logs", "equity", "reports")


def settings(costs: dict | None = None, **executor: Any) -> Settings:
    return load_settings(overrides={"labels": {"horizon": 5}, "costs": costs or {}, "executor": executor})


def market(count: int, seed: int = 0) -> list[tuple[dict, dict | None]]:
    """Candles, and for about every third one a decision."""
    random = np.random.default_rng(seed)
    rows: list[tuple[dict, dict | None]] = []
    close = 60_000.0
    for _ in range(count):
        opened = close + random.normal(0, 5)
        close = opened + random.normal(0, 60)
        high, low = max(opened, close) + random.exponential(20), min(opened, close) - random.exponential(20)
        decision = None
        if random.random() < 0.35:
            side = int(random.choice([-1, 1]))
            decision = signal("BUY" if side > 0 else "SELL", close - side * 90, close + side * 120)
        rows.append((candle(opened, high, low, close), decision))
    return rows


def candle(opened: float, high: float, low: float, close: float, status: str = "ok") -> dict:
    volume = dict.fromkeys(("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"), 1.0)
    return {"open": opened, "high": high, "low": low, "close": close, **volume, "status": status}


def signal(name: str, stop: float, target: float, size: float = 0.04, status: str = "ok") -> dict:
    numbers = {"confidence": 0.8, "min_confidence": 0.7, "expected_bps": np.nan, "SL": stop, "TP": target, "size": size}
    return {"signal": name, **numbers, "reason": f"{name}, as planted", "status": status}


def give(run: Run, stamp: int, candle: dict, decision: dict | None) -> None:
    """Put the inputs of one candle on disk."""
    run.workspace.append("candles_live", one_row(stamp, **candle))
    row = decision or signal("NEUTRAL", np.nan, np.nan)
    run.workspace.append("final_signals", one_row(stamp, **row))
    regime = REGIMES[stamp // MINUTE_MS % len(REGIMES)]
    run.workspace.append("current_regime", one_row(stamp, regime=regime, confidence=0.9, status="ok"))


def feed(run: Run, stamp: int, candle: dict, decision: dict | None) -> str:
    """One cycle, as far as the executor sees it; its status."""
    give(run, stamp, candle, decision)
    return run_predictor(predictor, run, stamp).status


def exports(root: Path) -> dict[str, bytes]:
    """The executor's CSVs, as they lie on disk."""
    run = Run.open(root, settings())
    return {name: run.workspace.path(name).read_bytes() for name in EXPORTS}


def replay(root: Path, count: int, seed: int) -> None:
    run = Run.open(root, settings())
    newest = run.workspace.newest("candles_live") if run.workspace.exists("candles_live") else None
    # The newest candle is done again: nobody knows how far its cycle came.
    first = 0 if newest is None else (newest - START) // MINUTE_MS
    for at, (candle, decision) in enumerate(market(count, seed)):
        if at >= first:
            print(at, feed(run, START + at * MINUTE_MS, candle, decision), flush=True)


if __name__ == "__main__":
    replay(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
