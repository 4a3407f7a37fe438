"""How odd a large transaction is, and what alert stands in a minute. Pure functions; the arrays come from the trainer.

Three steps. A transaction's numbers become features that look upward only (a whale is unusually large, never
unusually small). A detector gives the raw score, the training transactions' own quantiles turn it into the share of
them that was less odd, and its surprise, -ln(1 - share), is the alert's strength, which halves every ``half_life``
minutes. A minute's score is the share of training minutes in which a weaker alert stood.

Every step is elementwise over the rows, so that one row live and 50,000 rows in training give the same bits.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from modules.core.errors import ArtifactError
from modules.core.tables import Columns
from modules.core.words import DAY_MINUTES, MINUTE_MS

BASE = ("log_value", "log_inputs", "log_outputs", "largest_output_share", "log_fee_rate")
"""What a transaction is told by; all but the first may be missing and are then filled in (MICE)."""

CANDIDATES = {
    "log_value": "ln BTC of all outputs",
    "log_largest_output": "ln BTC of the largest output: payouts to many add up without one being large",
    "log_mean_output": "ln BTC an output",
    "log_mean_input": "ln BTC an input",
    "largest_output_share": "share of the value in one output: one receiver, not many",
    "log_fee_rate": "ln sat a virtual byte: someone is in a hurry",
    "log_inputs": "ln number of inputs: coins gathered",
    "log_outputs": "ln number of outputs: coins spread",
    "to_exchange": "1 where it goes to an exchange",
    "from_exchange": "1 where it comes from an exchange",
}
"""The features, each of which counts above the training median only; the trainer keeps some (see its ``select``)."""

VECTORS = ("median", "scale", "levels", "shares", "minute_levels", "minute_shares")
SILENT_MINUTES = DAY_MINUTES
"""Minutes without any large transaction after which the chain counts as unseen: there are dozens an hour."""
BLOCK_ROWS = 512


@dataclass(frozen=True)
class Imputer:
    """Chained linear equations (MICE): scikit-learn's IterativeImputer as plain arrays.

    Parameters
    ----------
    start : (B,) first guess of each base column
    low, high : (B,) bounds of what is filled in
    steps : one (column, coefficients of the B columns, intercept) after the other
    """

    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    steps: tuple[tuple[int, np.ndarray, float], ...]

    def fill(self, rows: np.ndarray) -> np.ndarray:
        """(N, B) without NaN."""
        missing = np.isnan(rows)
        if not missing.any():
            return rows
        filled = np.where(missing, self.start, rows)
        for column, coefficients, intercept in self.steps:
            guess = np.full(len(rows), intercept)
            for other, coefficient in enumerate(coefficients):
                guess = guess + coefficient * filled[:, other]
            guess = np.clip(guess, self.low[column], self.high[column])
            filled[:, column] = np.where(missing[:, column], guess, filled[:, column])
        return filled


@dataclass(frozen=True)
class WhaleModel:
    """Everything that the live path needs.

    Parameters
    ----------
    features : F names out of ``CANDIDATES``, in their order
    median, scale : (F,) of the training transactions
    detector : its kind (``cblof``, ``iforest``, ``knn``)
    arrays : the detector's numbers, by kind
    levels, shares : (Q,) raw scores ascending, and the share of training transactions below each
    minute_levels, minute_shares : the same of the strengths that stood in the training minutes
    half_life : minutes
    """

    imputer: Imputer
    features: tuple[str, ...]
    median: np.ndarray
    scale: np.ndarray
    detector: str
    arrays: dict[str, np.ndarray]
    levels: np.ndarray
    shares: np.ndarray
    minute_levels: np.ndarray
    minute_shares: np.ndarray
    half_life: float

    def inputs(self, transfers: Columns) -> np.ndarray:
        """(N, F) what the detector sees: standard deviations above the median, 0 below it."""
        everything = candidates(self.imputer.fill(base(transfers)), transfers)
        chosen = np.stack([everything[name] for name in self.features], 1)
        return np.maximum((chosen - self.median) / self.scale, 0.0)

    def raw(self, transfers: Columns) -> np.ndarray:
        """(N,) the detector's score, the larger the odder, on its own scale."""
        return DETECTORS[self.detector](self.inputs(transfers), self.arrays)

    def share_below(self, transfers: Columns) -> np.ndarray:
        """(N,) share of the training transactions that were less odd, 0 to below 1."""
        return np.interp(self.raw(transfers), self.levels, self.shares)


def base(transfers: Columns) -> np.ndarray:
    """(N, B) of ``BASE``; NaN where the source does not say.

    Parameters
    ----------
    transfers : the columns of ``catalog.TRANSFER``, N rows
    """
    inputs, outputs = (np.maximum(np.asarray(transfers[name], float), 1.0) for name in ("inputs", "outputs"))
    fee = np.maximum(np.asarray(transfers["fee_rate"], float), 0.1)
    value = np.maximum(np.asarray(transfers["value_btc"], float), 1e-8)
    share = np.asarray(transfers["largest_output_share"], float)
    return np.stack([np.log(value), np.log(inputs), np.log(outputs), share, np.log(fee)], 1)


def candidates(filled: np.ndarray, transfers: Columns) -> dict[str, np.ndarray]:
    """(N,) of each of ``CANDIDATES`` from the (N, B) base columns without NaN."""
    value, inputs, outputs, share, fee = (np.ascontiguousarray(column) for column in filled.T)
    return {
        "log_value": value,
        "log_largest_output": value + np.log(np.maximum(share, 1e-4)),
        "log_mean_output": value - outputs,
        "log_mean_input": value - inputs,
        "largest_output_share": share,
        "log_fee_rate": fee,
        "log_inputs": inputs,
        "log_outputs": outputs,
        "to_exchange": np.asarray(transfers["to_exchange"], float),
        "from_exchange": np.asarray(transfers["from_exchange"], float),
    }


def direction(transfers: Columns) -> np.ndarray:
    """(N,) +1 from an exchange (pressure to buy), -1 to one (to sell), 0 both or neither."""
    return np.asarray(transfers["from_exchange"], float) - np.asarray(transfers["to_exchange"], float)


def cblof(rows: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Cluster-based local outlier factor without weights (He, Xu & Deng 2003): a row of a large cluster scores its
    distance to that cluster's centre, one of a small cluster its distance to the nearest large cluster's."""
    squared = _squared_distances(rows, arrays["centres"])
    large = arrays["large"] > 0
    nearest = squared.argmin(axis=1)
    own = squared[np.arange(len(rows)), nearest]
    return np.sqrt(np.where(large[nearest], own, squared[:, large].min(axis=1)))


def knn(rows: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Mean distance to the nearest reference rows (Angiulli & Pizzuti 2002)."""
    count = int(arrays["neighbours"][0])
    scores = []
    for start in range(0, len(rows), BLOCK_ROWS):
        squared = _squared_distances(rows[start : start + BLOCK_ROWS], arrays["reference"])
        near = np.sort(np.partition(squared, count - 1, axis=1)[:, :count], axis=1)
        scores.append(np.sqrt(near).mean(axis=1))
    return np.concatenate(scores) if scores else np.zeros(0)


def iforest(rows: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Isolation forest (Liu, Ting & Zhou 2008): 2 ** -(mean path / the path that is usual), 0 to 1."""
    single = rows.astype(np.float32)
    paths = np.zeros(len(rows))
    features = arrays["feature"].astype(int)
    left, right = arrays["left"].astype(int), arrays["right"].astype(int)
    for tree in range(len(features)):
        at = np.zeros(len(rows), int)
        while (inner := left[tree, at] >= 0).any():
            here = at[inner]
            goes_left = single[inner, features[tree, here]] <= arrays["threshold"][tree, here]
            at[inner] = np.where(goes_left, left[tree, here], right[tree, here])
        paths += arrays["path"][tree, at]
    return 2.0 ** (-paths / (len(features) * arrays["usual"][0]))


DETECTORS = {"cblof": cblof, "iforest": iforest, "knn": knn}


def standing(model: WhaleModel, transfers: Columns, timestamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strongest alert that stands at each candle's close.

    A transaction counts from the minute after the one in which it was seen, and no longer once it is gone.

    Parameters
    ----------
    transfers : columns of ``catalog.TRANSFER`` and ``timestamp``; also ``mined`` and ``gone`` where the source has them
    timestamps : (N,) open times, Unix ms, any order

    Returns
    -------
    strength : (N,) 0 and more; NaN where nothing at all was seen for ``SILENT_MINUTES``
    impact : (N,) the ``direction`` of that alert
    """
    seen = transfers["timestamp"]
    order = np.argsort(seen, kind="stable")
    seen = seen[order]
    ordered = {name: values[order] for name, values in transfers.items()}
    minutes = timestamps // MINUTE_MS
    first = seen // MINUTE_MS + 1
    strength, impact = np.full(len(minutes), np.nan), np.zeros(len(minutes))
    if not len(seen):
        return strength, impact
    surprise = -np.log1p(-model.share_below(ordered))
    mined = np.minimum(ordered.get("mined", seen), seen) // MINUTE_MS
    # Logs of strength as of minute 0: what is largest there stays largest, for all decay alike.
    level = np.log2(np.maximum(surprise, 1e-12)) + mined / model.half_life
    gone = ordered.get("gone", np.full(len(seen), np.nan))
    lasting = np.flatnonzero(np.isnan(gone))
    best, leader = np.full(len(minutes), -np.inf), np.zeros(len(minutes), int)
    if len(lasting):
        highest = np.maximum.accumulate(level[lasting])
        leads = np.maximum.accumulate(np.where(level[lasting] >= highest, np.arange(len(lasting)), 0))
        place = np.searchsorted(first[lasting], minutes, side="right") - 1
        there = place >= 0
        best[there], leader[there] = highest[place[there]], lasting[leads[place[there]]]
    for i in np.flatnonzero(~np.isnan(gone)):
        stronger = (minutes >= first[i]) & ((minutes + 1) * MINUTE_MS < gone[i]) & (level[i] > best)
        best[stronger], leader[stronger] = level[i], i
    newest = np.searchsorted(first, minutes, side="right") - 1
    heard = (newest >= 0) & (minutes - first[np.maximum(newest, 0)] < SILENT_MINUTES) & np.isfinite(best)
    strength[heard] = np.exp2(best[heard] - minutes[heard] / model.half_life)
    impact[heard] = direction(ordered)[leader[heard]]
    return strength, impact


def alerts(model: WhaleModel, transfers: Columns, timestamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``whale_alert_score`` (N,), NaN where the chain was not seen, and ``impact_type`` (N,), of N candles."""
    strength, impact = standing(model, transfers, timestamps)
    score = np.interp(strength, model.minute_levels, model.minute_shares)
    words = np.array(["sell_pressure", "none", "buy_pressure"], object)
    return np.where(np.isnan(strength), np.nan, score), words[impact.astype(int) + 1]


def dump(model: WhaleModel) -> dict[str, Any]:
    """The model as plain lists and numbers, for JSON."""
    content = {name: getattr(model, name) for name in ("features", "detector", "half_life")}
    for name in VECTORS:
        content[name] = getattr(model, name).tolist()
    content["arrays"] = {name: values.tolist() for name, values in model.arrays.items()}
    imputer = model.imputer
    content["imputer"] = {name: getattr(imputer, name).tolist() for name in ("start", "low", "high")}
    content["imputer"]["steps"] = [[i, coefficients.tolist(), intercept] for i, coefficients, intercept in imputer.steps]
    return content


def load(data: bytes) -> WhaleModel:
    """The model from its JSON.

    Raises
    ------
    ArtifactError : it names a feature or a detector that this version does not have
    """
    content = json.loads(data)
    unknown = [name for name in content["features"] if name not in CANDIDATES]
    if unknown or content["detector"] not in DETECTORS:
        raise ArtifactError(f"the whale model takes {', '.join(unknown) or content['detector']}, unknown here; train again")
    chain = content.pop("imputer")
    steps = tuple((int(i), np.array(coefficients), float(intercept)) for i, coefficients, intercept in chain["steps"])
    arrays = {name: np.array(values, float) for name, values in content.pop("arrays").items()}
    start, low, high = (np.array(chain[name], float) for name in ("start", "low", "high"))
    vectors = {name: np.array(content[name], float) for name in VECTORS}
    return WhaleModel(
        Imputer(start, low, high, steps),
        features=tuple(content["features"]),
        detector=content["detector"],
        half_life=float(content["half_life"]),
        arrays=arrays,
        **vectors,
    )


def _squared_distances(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, K), summed feature by feature: the same bits for one row as for many."""
    squared = np.zeros((len(rows), len(points)))
    for feature in range(rows.shape[1]):
        squared += (rows[:, feature, None] - points[None, :, feature]) ** 2
    return squared
