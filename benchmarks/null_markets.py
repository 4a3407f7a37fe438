"""Does the verdict keep its word? The whole pipeline on simulated markets without any edge, and on markets with one.

usage: python -m benchmarks.null_markets [--variant null] [--seeds 100] [--learn 12000] [--jobs 2]

Each market is learned from on its first minutes and judged on the later ones, at the costs that are set and at no cost at
all, where half of everything "pays". On a null market no strategy has an edge, whatever it shows; buying and holding is
left out, for a market may drift. The tries are those that any user starts from: the list of the research.
"""

import argparse
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

JUDGED = 40_000
"""Minutes."""
FREE = {"fee": 0.0, "slippage": 0.0}


def verdicts(variant: str, learned: int, seed: int) -> dict[str, dict[str, str]]:
    """Costs ("as set", "none") -> strategy -> verdict, on one simulated market."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from modules.conductor.demo import lay_out
    from modules.conductor.training import train
    from modules.core.module import Run
    from modules.core.settings import load_settings
    from modules.evaluation.batch import with_history
    from modules.evaluation.measure import HELD, trade
    from modules.evaluation.testimony import testimony
    from modules.evaluation.tries import tried
    from modules.evaluation.verdict import verdict
    from modules.m1_data_engine.candle_files import read_candles
    from modules.m1_data_engine.simulated_market import simulate

    overrides = {
        "data": {"rows": learned, "chunk_rows": learned // 4, "out_of_sample": 0.05},
        "labels": {"move_bps": 50.0},
        "learning": {"folds": 4, "rounds": 60},
    }
    found = {}
    with TemporaryDirectory() as folder:
        learn, rest = Path(folder) / "learn.csv", Path(folder) / "rest.csv"
        settings = load_settings(overrides=overrides)
        market = simulate(learned + JUDGED, seed, variant)
        desk = Run.open(Path(folder), settings, candles=learn)
        lay_out(desk, market, learned, learn, rest)
        desk.workspace.path("historical_transactions").unlink()  # whales speak live only: a batch cannot ask them
        train(desk, quiet=True)
        for costs, changed in (("as set", {}), ("none", {"costs": FREE})):
            run = Run.open(Path(folder), load_settings(overrides=overrides | changed))
            if changed:
                train(run, ["m5_meta_fusion"], quiet=True)
            candles = with_history(run, read_candles(rest)[0])
            said = testimony(run, candles)
            new = np.isin(said["timestamp"], candles["timestamp"][-JUDGED:])
            count = tried(run.workspace).count
            traded = trade({name: values[new] for name, values in said.items()}, run.settings)
            found[costs] = {
                name: verdict(its.returns, its.simulation.trades["pnl"], count, seed).words
                for name, its in traded.items()
                if name != HELD
            }
    return found


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
        for done, found in enumerate(pool.map(partial(verdicts, options.variant, options.learn), seeds), 1):
            counts.update((costs, name, words) for costs, told in found.items() for name, words in told.items())
            if done % 10 == 0 or done == len(seeds):
                print(f"{done} of {len(seeds)} markets", flush=True)
    print(f"{options.variant} market, seeds {seeds[0]} to {seeds[-1]}, learned from {options.learn} minutes, judged on {JUDGED}")
    for (costs, name, words), count in sorted(counts.items()):
        print(f"costs {costs:7s} {name:45s} {words:35s} {count:4d} of {len(seeds)}")


if __name__ == "__main__":
    main()
