"""How well an honest candidate can tell the future alone: what the ceilings of ``--analyze`` were chosen on.

usage: python -m benchmarks.leakage_ceilings [--minutes 10600] [--seeds 1 2 3 4 5 6]

On simulated markets without direction, with a weak and with a strong planted edge, the best of all candidates and of the
planted truth itself: the volatility and the drift of order flow, which no candidate can know better.
"""

import argparse

import numpy as np

from modules.core.settings import load_settings
from modules.core.telemetry import Progress
from modules.evaluation.leakage import check_leakage
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Feature, Market
from modules.m1_data_engine.simulated_market import Simulation, simulate


def planted(market: Simulation, name: str) -> Feature:
    """A column of the truth as a candidate."""
    return Feature("truth", f"planted {name}", 0, lambda given: market.truth[name][-len(given) :])


def main() -> None:
    parser = argparse.ArgumentParser(description="The best that honest candidates reach against the checks of --analyze.")
    parser.add_argument("--minutes", type=int, default=10_600)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 7)))
    options = parser.parse_args()
    wanted = load_settings(overrides={"labels": {"move_bps": 30.0}}).labels
    for variant in ("null", "weak", "strong"):
        best: dict[str, tuple[float, str]] = {}
        failed = 0
        for seed in options.seeds:
            market = simulate(options.minutes, seed, variant)
            features = (*registry.candidates(), planted(market, "volatility"), planted(market, "drift"))
            found = check_leakage(wanted, Market(market.candles), features, Progress(quiet=True))
            failed += sum(finding.verdict == "fail" for finding in found)
            for finding in found:
                if np.isfinite(finding.value) and finding.value > best.get(finding.what, (-1.0, ""))[0]:
                    best[finding.what] = finding.value, f"{finding.subject}, seed {seed}"
        print(f"{variant}, {len(options.seeds)} markets of {options.minutes} minutes: {failed} candidates fail")
        for what, (value, who) in best.items():
            print(f"  {what}: at most {value:.3f} ({who})")


if __name__ == "__main__":
    main()
