"""Training LightGBM, the same way in every room. Trainers only: its import costs more than a live minute."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from modules.core.settings import Learning

PATIENCE = 30
INNER_SHARE = 0.85
"""The share of the training rows that is fitted on while early stopping watches the rest, the newest."""


@dataclass(frozen=True)
class Fitted:
    """A booster fitted on all rows, and the one whose early stopping told how many rounds it needs."""

    watched: Any
    final: Any

    @property
    def text(self) -> bytes:
        return str(self.final.model_to_string()).encode()


def fit(
    rows: np.ndarray,
    label: np.ndarray,
    names: list[str],
    learning: Learning,
    classes: int,
    gap: int,
    cut: int | None = None,
    start: Fitted | None = None,
    margin: np.ndarray | None = None,
) -> Fitted:
    """A booster fitted on all rows, with as many rounds as early stopping found best on the newest of them.

    Parameters
    ----------
    rows, label : (N, F) inputs in time order, (N,) integers below ``classes`` (2 = binary), numbers where that is 1
    gap : rows left out between the rows fitted on and those watched (purge and embargo)
    cut : number of the first row that is watched; default: the newest 15 %
    start : boosters to go on from, whose own watched rows begin no earlier than these
    margin : (N,) log-odds (binary) or numbers that the trees are added to; a prediction must add them too

    Returns
    -------
    Fitted; the same input gives the same bytes
    """
    import lightgbm

    wanted = parameters(learning, classes, len(rows))
    cut = int(len(rows) * INNER_SHARE) if cut is None else cut
    inner = np.arange(max(1, cut - gap))

    def data(part: np.ndarray) -> Any:
        given = None if margin is None else margin[part]
        return lightgbm.Dataset(rows[part], label[part], feature_name=names, init_score=given)

    watched = lightgbm.train(
        wanted,
        data(inner),
        learning.rounds,
        valid_sets=[data(np.arange(cut, len(rows)))],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        init_model=start.watched if start else None,
    )
    before = start.watched.current_iteration() if start else 0
    rounds = max(1, watched.best_iteration - before)
    final = lightgbm.train(wanted, data(np.arange(len(rows))), rounds, init_model=start.final if start else None)
    return Fitted(watched, final)


def parameters(learning: Learning, classes: int, rows: int) -> dict[str, Any]:
    """Small, strongly regularised trees: minute candles are nearly all noise."""
    return {
        "objective": {1: "regression", 2: "binary"}.get(classes, "multiclass"),
        **({"num_class": classes} if classes > 2 else {}),
        "learning_rate": 0.03,
        "num_leaves": 7,
        "min_data_in_leaf": min(1_000, max(20, rows // 100)),
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l1": 1.0,
        "lambda_l2": 10.0,
        "max_bin": 127,
        "seed": learning.seed,
        "num_threads": learning.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
