"""How often is the regime named as planted? On simulated markets that nothing was tuned on.

usage: python -m benchmarks.regime_accuracy [--seeds 101,102,103,104,105,106] [--minutes 40000]
"""

import argparse

import numpy as np

from modules.core.settings import load_settings
from modules.core.words import REGIMES
from modules.m1_data_engine import context
from modules.m1_data_engine.features.market import Market
from modules.m1_data_engine.simulated_market import simulate
from modules.m2_regime import model, trainer

FITTED = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="101,102,103,104,105,106")
    parser.add_argument("--minutes", type=int, default=40_000)
    options = parser.parse_args()
    settings = load_settings()
    found: dict[str, list[float]] = {}
    for seed in map(int, options.seeds.split(",")):
        market = simulate(options.minutes, seed)
        columns = context.context(Market(market.candles))
        axes = np.stack([columns[name] for name in model.AXES], 1)[context.WARMUP :]
        truth = np.array([REGIMES.index(name) for name in market.truth["regime"][context.WARMUP :]])
        cut = int(len(axes) * FITTED)
        anchor = trainer.ANCHOR
        for name, weight in (("chain without an anchor", 0.0), ("chain, anchored", anchor)):
            trainer.ANCHOR = weight
            regimes, chain = trainer.fit_regimes(axes[:cut], settings)
            label = regimes.filtered(axes, settings.regime.memory)[cut:].argmax(axis=1)
            found.setdefault(name, []).append(float((label == truth[cut:]).mean()))
        standard = (axes - regimes.centre) / regimes.scale
        mixture = trainer.fit_mixture(standard[:cut], settings.regime.components, settings)
        label = trainer.name_components(mixture.means_)[mixture.predict(standard[cut:])]
        found.setdefault("mixture of 10, without a chain", []).append(float((label == truth[cut:]).mean()))
        hindsight = chain.predict_proba(standard[cut:]).argmax(axis=1)
        found.setdefault("chain in hindsight (smoothed)", []).append(float((hindsight == truth[cut:]).mean()))
        always = np.bincount(truth[cut:]).max() / len(truth[cut:])
        found.setdefault("always the commonest regime", []).append(float(always))
    print(f"regime named as planted, {len(options.seeds.split(','))} markets of {options.minutes} minutes, unseen 40 %")
    for name, values in sorted(found.items(), key=lambda pair: -np.mean(pair[1])):
        print(f"{name:32s} mean {np.mean(values):.3f}  from {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
