"""Does the verdict keep its word? The whole pipeline on simulated markets without any edge, and on markets with one.

usage: python -m benchmarks.null_markets [--variant null] [--seeds 100] [--learn 12000] [--jobs 2]

Each market is simulated, learned from on its first minutes and judged on the later ones, at the costs that are set and at no
cost at all. On a null market no strategy has an edge, whatever it shows; buying and holding is left out, for a market may
drift. Each record is judged twice: after the tries that any user starts from, the list of the research, and as if it were the
only try. After so many tries a month of days must show so high a Sharpe ratio that luck hardly ever says edge; whether the
rest of the verdict keeps its word is told by the second count alone. Nor is anything told of a strategy that does not trade.
The figures stand in docs/decisions/011.
"""

import argparse
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from modules.evaluation.verdict import EDGE, IDLE, LOSES, LUCK, verdict

JUDGED = 40_000
"""Minutes."""
COSTS: dict[str, dict[str, dict[str, float]]] = {"as set": {}, "none": {"costs": {"fee": 0.0, "slippage": 0.0}}}
ALONE = "edge, were it the only try"
COLUMNS = {EDGE: "edge", ALONE: "edge if only try", LUCK: "luck", LOSES: "loses", IDLE: "no trade"}
"""All but ``ALONE`` are after the tries of the research, and add up to the records."""


@dataclass(frozen=True)
class Market:
    """What was said on one market: (costs, strategy) -> those of ``COLUMNS`` that hold."""

    tries: int
    days: int
    said: dict[tuple[str, str], list[str]]


def judged(variant: str, learned: int, seed: int) -> Market:
    """Learn from one simulated market and judge every strategy on its later minutes, at both costs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from modules.conductor.demo import lay_out
    from modules.conductor.training import train
    from modules.core.module import Run
    from modules.core.settings import load_settings
    from modules.evaluation.batch import with_history
    from modules.evaluation.measure import HELD, trade
    from modules.evaluation.testimony import testimony
    from modules.evaluation.tries import tried
    from modules.m1_data_engine.candle_files import read_candles
    from modules.m1_data_engine.simulated_market import simulate

    overrides = {
        "data": {"rows": learned, "chunk_rows": learned // 4, "out_of_sample": 0.05},
        "labels": {"move_bps": 50.0},
        "learning": {"folds": 4, "rounds": 60},
    }
    found: dict[tuple[str, str], list[str]] = {}
    with TemporaryDirectory() as folder:
        learn, rest = Path(folder) / "learn.csv", Path(folder) / "rest.csv"
        settings = load_settings(overrides=overrides)
        market = simulate(learned + JUDGED, seed, variant)
        desk = Run.open(Path(folder), settings, candles=learn)
        lay_out(desk, market, learned, learn, rest)
        desk.workspace.path("historical_transactions").unlink()  # whales speak live only: a batch cannot ask them
        train(desk, quiet=True)
        for costs, changed in COSTS.items():
            run = Run.open(Path(folder), load_settings(overrides=overrides | changed))
            if changed:
                train(run, ["m5_meta_fusion"], quiet=True)
            candles = with_history(run, read_candles(rest)[0])
            said = testimony(run, candles)
            new = np.isin(said["timestamp"], candles["timestamp"][-JUDGED:])
            count = tried(run.workspace).count
            traded = trade({name: values[new] for name, values in said.items()}, run.settings)
            for name, its in traded.items():
                if name != HELD:
                    days, pnl = len(its.returns), its.simulation.trades["pnl"]
                    told, alone = (verdict(its.returns, pnl, tries, seed).words for tries in (count, 1))
                    found[costs, name] = [told, ALONE] if alone == EDGE else [told]
    return Market(count, days, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="null", choices=("null", "weak", "strong"))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--learn", type=int, default=12_000, help="minutes that each market is learned from")
    parser.add_argument("--first", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    counts: Counter[tuple[str, str, str]] = Counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, market in enumerate(pool.map(partial(judged, options.variant, options.learn), seeds), 1):
            counts.update((*whose, words) for whose, told in market.said.items() for words in told)
            if done % 10 == 0 or done == len(seeds):
                print(f"{done} of {len(seeds)} markets", flush=True)
    print(
        f"{options.variant} market, seeds {seeds[0]} to {seeds[-1]}, learned from {options.learn} minutes, judged on"
        f" {market.days} UTC days after {market.tries} tries"
    )
    for costs in COSTS:
        names = dict.fromkeys(name for at, name, _ in counts if at == costs)
        rows = {name: [counts[costs, name, words] for words in COLUMNS] for name in names}
        rows["together"] = [sum(column) for column in zip(*rows.values(), strict=True)]
        print(f"{f'costs {costs}':45s}" + "".join(f"{head:>18s}" for head in COLUMNS.values()))
        for name, row in rows.items():
            print(f"{name:45s}" + "".join(f"{value:18d}" for value in row))


if __name__ == "__main__":
    main()
