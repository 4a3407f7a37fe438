"""The figures of docs/decisions/008-whale-detector.md: detectors side by side on unseen rows.

    python -m tests.m4a_whale.measure_detectors --minutes 120000 --seeds 11 12 13 [--large large_transactions.csv.gz]

``--large`` adds a set of transactions with labels of its source's own making, in satoshi.
"""

import argparse
import csv
import gzip
import tempfile
from pathlib import Path

import numpy as np

from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.m4a_whale import trainer
from tests.m4a_whale.chain import market_on_disk


def labelled(path: Path) -> Columns:
    """The part of the set that was drawn at random, as ``labelled_transactions``; label 1: a predicted whale type."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["sample"] == "random_sample_labelled"]

    def numbers(name: str) -> np.ndarray:
        return np.array([float(row[name]) if row[name] else np.nan for row in rows])

    nobody = np.zeros(len(rows), np.int64)
    return {
        "timestamp": np.array([int(row["timestamp"]) for row in rows]),
        "txid": np.array([row["tx_hash"] for row in rows], object),
        "value_btc": numbers("total_output_value") / 1e8,
        "inputs": numbers("input_count"),
        "outputs": numbers("output_count"),
        "largest_output_share": np.clip(numbers("max_output_ratio"), 0, 1),
        "fee_rate": np.full(len(rows), np.nan),
        "to_exchange": nobody,
        "from_exchange": nobody,
        "label": np.array([row["predicted_whale_type"] != "normal" for row in rows]).astype(int),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=int, default=120_000)
    options.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    options.add_argument("--variant", default="weak")
    options.add_argument("--large", type=Path)
    chosen = options.parse_args()
    for place, seed in enumerate(chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run, _ = market_on_disk(Path(folder), chosen.minutes, seed, chosen.variant)
            if chosen.large and not place:
                run.workspace.write("labelled_transactions", labelled(chosen.large))
            print(f"seed {seed}: {trainer.train(run, Progress(quiet=True))[0]}")
            print(run.workspace.path("whale_stats").read_text())


if __name__ == "__main__":
    main()
