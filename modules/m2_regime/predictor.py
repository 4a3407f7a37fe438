"""Run module 2 on one closed candle: regime, next-regime probabilities, early warning."""

import json
import sys
from dataclasses import fields
from typing import Any

import numpy as np

from modules.core import evidence
from modules.core.catalog import NEXT
from modules.core.errors import ArtifactError
from modules.core.history import inputs
from modules.core.module import Run, one_row, predictor_main, row_at
from modules.core.tables import Columns
from modules.core.trees import Trees
from modules.core.words import MINUTE_MS, OK
from modules.m2_regime import model

TABLES = ("current_regime", "next_regime_probs", "early_warnings")


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The three rows of ``timestamp``, from the feature rows as far back as the filter remembers."""
    memory = run.settings.regime.memory
    features = run.workspace.read("live_features", last=memory + 1)
    row = row_at(features, timestamp, "live_features")
    said = evidence.at(run.workspace, timestamp - MINUTE_MS)
    return model.answer(models(run), _path(features, timestamp, memory), row, said, run.settings)


def models(run: Run) -> model.Models:
    """What the trainer exported, kept for as long as the manifest names the same files.

    Raises
    ------
    ArtifactError : another version of the program exported it
    """
    trees = run.artifacts.once("warning_export", None, Trees)
    try:
        regimes, foresight, numbers = run.artifacts.once("regime_export", None, _load)
        warner = model.Warner(trees=trees, **numbers)
    except (KeyError, TypeError) as error:
        path = run.artifacts.entry("regime_export")["path"]
        raise ArtifactError(f"{path}: was made by another version of the program; train again with --train") from error
    names = run.artifacts.entry("warning_export")["features"]
    own = names[: len(names) - len(evidence.names()) - len(model.CLOCK)]
    return model.Models(regimes, foresight, warner, own)


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """No view: the quietest regime without confidence, every next regime alike, no warning."""
    alike = {column.name: 1 / len(NEXT) for column in NEXT}
    return {
        "current_regime": one_row(timestamp, regime="STABLE_LOW", confidence=0.0, status=why),
        "next_regime_probs": one_row(timestamp, **alike, status=why),
        "early_warnings": one_row(timestamp, warning="none", probability=0.0, threshold=1.0, triggers="", status=why),
    }


def _load(data: bytes) -> tuple[model.RegimeModel, model.Foresight | None, dict[str, Any]]:
    """The regime model, the foresight, and the numbers of the warner beside its trees, from their exported form."""
    export = json.loads(data)
    arrays = {field.name: np.array(export[field.name]) for field in fields(model.RegimeModel)}
    learned = export["foresight"]
    foresight = learned and model.Foresight(**{key: np.array(value) for key, value in learned.items()})
    return model.RegimeModel(**arrays), foresight, export["warner"]


def _path(features: Columns, timestamp: int, memory: int) -> np.ndarray:
    """(memory, 5) ``model.PATH`` of the minutes up to ``timestamp``; NaN where a minute has no row or a fallback."""
    path = np.full((memory, len(model.PATH)), np.nan)
    back = (timestamp - features["timestamp"]) // MINUTE_MS
    usable = (back >= 0) & (back < memory) & (features["status"] == OK)
    path[memory - 1 - back[usable]] = inputs(features, list(model.PATH))[usable]
    return path


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
