"""Run module 4B: the sentiment trajectory. No source is configured yet, so it is off: no failure, and no evidence."""

import sys

from modules.core.catalog import EVIDENCE
from modules.core.module import Run, one_row, predictor_main
from modules.core.tables import Columns
from modules.core.words import OFF

TABLES = ("sentiment_trajectories",)


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """What "no evidence" reads like, marked as off."""
    return fallback(run, timestamp, OFF)


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """What "no evidence" reads like."""
    neutral = next(evidence.neutral for evidence in EVIDENCE if evidence.table == TABLES[0])
    return {TABLES[0]: one_row(timestamp, **neutral, status=why)}


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
