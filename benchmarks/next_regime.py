"""How well is the regime 15 minutes ahead foretold? Walk-forward over the newest months of a candle file.

usage: python -m benchmarks.next_regime --candles FILE [--blocks 6] [--minutes 43200] [--window 150000]
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from modules.core.settings import load_settings
from modules.core.statistics import mean
from modules.m1_data_engine import context
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.features.market import Market
from modules.m2_regime import model, trainer

WAITED = (0, 3, 5, 10)
"""Minutes after a change of the hindsight's label at which the label known by then is asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--minutes", type=int, default=43_200)
    parser.add_argument("--window", type=int, default=150_000)
    options = parser.parse_args()
    settings = load_settings()
    seed, horizon, memory = settings.learning.seed, settings.labels.horizon, settings.regime.memory
    gap, axes = horizon + 1 + settings.learning.embargo, len(model.AXES)
    candles, _ = read_candles(options.candles)
    columns = context.context(Market(candles))
    path, stamps = np.stack([columns[name] for name in model.PATH], 1)[context.WARMUP :], candles["timestamp"][context.WARMUP :]
    found: dict[str, list[np.ndarray]] = {}
    for start in len(path) - options.minutes * np.arange(options.blocks, 0, -1):
        learned = path[max(0, start - options.window) : start - gap]
        regimes, chain = trainer.fit_regimes(learned[:, :axes], settings)
        foresight = trainer.fit_foresight(learned, regimes, chain, settings)
        assert foresight is not None, "the window is too short"
        block = path[start - memory + 1 : start + options.minutes]
        state = regimes.filtered(block[:, :axes], memory, options.minutes)
        hindsight = chain.predict_proba((block[memory - 1 :, :axes] - regimes.centre) / regimes.scale).argmax(axis=1)
        foreseen = foresight.probabilities(block, options.minutes)[:-horizon]
        label, later, now = state.argmax(axis=1), hindsight[horizon:], hindsight[:-horizon]
        changed = np.append(False, hindsight[1:] != hindsight[:-1])
        for name, values in {
            "stamp": stamps[start : start + options.minutes - horizon],
            "later": later,
            "label": label[:-horizon],
            "changes": later != now,
            "turn": changed[:-horizon],
            "before": np.append(False, label[: -horizon - 1]) == now,
            "foreseen": foreseen,
            "chain": state[:-horizon] @ regimes.ahead,
            **{f"after {k}": label[k : len(label) - horizon + k] == now for k in WAITED},
        }.items():
            found.setdefault(name, []).append(values)
    all_of = {name: np.concatenate(parts) for name, parts in found.items()}
    later, label, stamp, rows = all_of["later"], all_of["label"], all_of["stamp"], np.arange(len(all_of["later"]))

    def say(figure: str, values: np.ndarray, baseline: np.ndarray, part: np.ndarray) -> None:
        value, low, high = mean(values[part], stamp[part], seed)
        gain, least, most = mean((values.astype(float) - baseline)[part], stamp[part], seed)
        print(f"{figure:48s} {value:.3f} ({low:.3f} to {high:.3f}), baseline {baseline[part].mean():.3f},", end=" ")
        print(f"difference {gain:+.3f} ({least:+.3f} to {most:+.3f}), n {part.sum()}")

    def other(coming: np.ndarray) -> np.ndarray:
        coming = coming.copy()
        coming[rows, label] = -1
        return coming.argmax(axis=1) == later

    every, foreseen, chain_says = np.ones(len(rows), bool), all_of["foreseen"], all_of["chain"]
    right, persists = foreseen.argmax(axis=1) == later, label == later
    say(f"regime {horizon} minutes ahead (last label persists)", right, persists, every)
    say("... where it changes (last label persists)", right, persists, all_of["changes"])
    say("which, where it is another (chain)", other(foreseen), other(chain_says), label != later)
    log_losses = [-np.log(np.clip(coming[rows, later], 1e-6, 1)) for coming in (foreseen, chain_says)]
    say("log loss (chain)", *log_losses, every)
    for k in WAITED:
        say(f"new regime named {k} minutes on (minute before)", all_of[f"after {k}"], all_of["before"], all_of["turn"])


if __name__ == "__main__":
    main()
