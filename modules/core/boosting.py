"""Training LightGBM, the same way in every room. Trainers only: its import costs more than a live minute."""

from typing import Any

import numpy as np

from modules.core.settings import Learning

PATIENCE = 30
INNER_SHARE = 0.15
"""The newest share of the training rows on which early stopping watches, before the final fit on all of them."""


def fit(rows: np.ndarray, label: np.ndarray, names: list[str], learning: Learning, classes: int, gap: int, **more: Any) -> Any:
    """A booster fitted on all rows, with as many rounds as early stopping found best on the newest of them.

    Parameters
    ----------
    rows, label : (N, F) inputs in time order, (N,) integers below ``classes`` (2 = binary)
    gap : rows left out between the rows fitted on and those watched (purge and embargo)
    more : LightGBM parameters that differ from ``parameters``

    Returns
    -------
    lightgbm.Booster; the same input gives the same bytes
    """
    import lightgbm

    wanted = parameters(learning, classes) | more
    cut = int(len(rows) * (1 - INNER_SHARE))
    inner = np.arange(max(1, cut - gap))

    def data(part: np.ndarray) -> Any:
        return lightgbm.Dataset(rows[part], label[part], feature_name=names, free_raw_data=True)

    watched = lightgbm.train(
        wanted,
        data(inner),
        learning.rounds,
        valid_sets=[data(np.arange(cut, len(rows)))],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    return lightgbm.train(wanted, data(np.arange(len(rows))), max(1, watched.best_iteration))


def parameters(learning: Learning, classes: int) -> dict[str, Any]:
    """Small, strongly regularised trees: minute candles are nearly all noise."""
    return {
        "objective": "binary" if classes == 2 else "multiclass",
        **({} if classes == 2 else {"num_class": classes}),
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 200,
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
