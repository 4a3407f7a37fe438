"""The history that trainers learn from: the feature chunks, the candles under them, and their walk-forward blocks."""

from dataclasses import dataclass

import numpy as np

from modules.core import labels
from modules.core.errors import PipelineError
from modules.core.settings import Settings
from modules.core.splits import PurgedWalkForward
from modules.core.tables import Columns, Workspace

NOT_INPUTS = ("timestamp", "close", "depth_btc", "status")
"""Columns of a features table that no model takes: the price is a level, and depth is a rule of the fusion."""

LEAST_TRAINED = 200
"""Rows that the first walk-forward block must leave to learn from."""
LEAST_EXCURSION = 1e-5
"""Share of the close below which a market stands still: a tenth of a basis point."""


def input_names(features: Columns) -> list[str]:
    """The columns of a features table that models take, in their order."""
    return [name for name in features if name not in NOT_INPUTS]


def inputs(features: Columns, names: list[str]) -> np.ndarray:
    """(N, len(names)) of a features table.

    Raises
    ------
    PipelineError : a column that the model was trained on is not there
    """
    missing = [name for name in names if name not in features]
    if missing:
        raise PipelineError(f"the features table lacks {', '.join(missing)}: the models were trained on others; train again")
    return np.stack([features[name] for name in names], 1)


@dataclass(frozen=True)
class History:
    """N rows of features in time order.

    Parameters
    ----------
    features : the columns of all chunks
    candles : the candle table that they came from, M >= N rows
    position : (N,) each row's place in ``candles``
    training : rows before the out-of-sample tail, the only ones that anything is fitted on
    walk : the walk-forward blocks of the training rows
    """

    features: Columns
    candles: Columns
    position: np.ndarray
    training: int
    walk: PurgedWalkForward
    settings: Settings

    @classmethod
    def load(cls, workspace: Workspace, settings: Settings) -> "History":
        chunks, k = [], 0
        while workspace.exists("chunk", k):
            chunks.append(workspace.read("chunk", k))
            k += 1
        if not chunks:
            raise PipelineError(f"{workspace.path('chunk', 0)}: is missing; train module 1 first: --train --only m1_data_engine")
        features = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        candles = workspace.read("candles_history")
        position = np.searchsorted(candles["timestamp"], features["timestamp"])
        if not np.isin(features["timestamp"], candles["timestamp"]).all():
            raise PipelineError(
                f"{workspace.path('candles_history')}: is not what the chunks were made from; train module 1 again"
            )
        training = int(len(position) * (1 - settings.data.out_of_sample))
        learning = settings.learning
        walk = PurgedWalkForward(learning.folds, settings.labels.horizon + 1, learning.embargo)
        least = training // walk.folds - walk.purge - walk.embargo
        if least < LEAST_TRAINED:
            raise PipelineError(
                f"[learning] folds = {walk.folds} cuts {training} training rows into blocks of which the first leaves"
                f" {max(0, least)} to learn from, and {LEAST_TRAINED} are needed: take fewer folds or more candles"
            )
        return cls(features, candles, position, training, walk, settings)

    def __len__(self) -> int:
        return len(self.position)

    @property
    def timestamps(self) -> np.ndarray:
        return self.features["timestamp"]

    @property
    def folds(self) -> np.ndarray:
        """(N,) the walk-forward block of each row, see ``splits``."""
        return self.walk.fold_of(len(self), self.training)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: what came after the row lies within the data."""
        return labels.known(len(self.candles["close"]), self.settings.labels.horizon)[self.position]

    def first_side(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) label and (N,) moved of ``labels.first_side``."""
        close, wanted = self.candles["close"], self.settings.labels
        distance = labels.move_points(close, wanted.move_points, wanted.move_bps)
        label, moved = labels.first_side(self.candles["high"], self.candles["low"], close, distance, wanted.horizon)
        return label[self.position], moved[self.position]

    def excursion(self) -> np.ndarray:
        """(N,) ln of ``labels.excursion`` over the close; NaN in the last rows."""
        high, low, close = (self.candles[key] for key in ("high", "low", "close"))
        distance = labels.excursion(high, low, close, self.settings.labels.horizon)
        return np.log(np.maximum(distance / close, LEAST_EXCURSION))[self.position]

    def outcome(self, side: int) -> np.ndarray:
        """(N,) gross return of a trade of this side decided at the row, as ``labels.barrier_outcome``."""
        atr = np.full(len(self.candles["close"]), np.nan)
        atr[self.position] = self.features["atr"]
        fusion, horizon = self.settings.fusion, self.settings.labels.horizon
        return labels.barrier_outcome(self.candles, atr, side, fusion.stop_atr, fusion.target_atr, horizon)[self.position]

    def places(self, table: Columns, what: str) -> np.ndarray:
        """Where each row of an earlier room's table stands in this history.

        Raises
        ------
        PipelineError : it was made from other candles
        """
        at = np.minimum(np.searchsorted(self.timestamps, table["timestamp"]), len(self) - 1)
        if not np.array_equal(self.timestamps[at], table["timestamp"]):
            raise PipelineError(f"{what} was made from other candles than the features: train all modules again")
        return at

    def span(self, rows: np.ndarray) -> tuple[int, int]:
        """Stamps of the first and last of some rows, for the manifest."""
        return int(self.timestamps[rows[0]]), int(self.timestamps[rows[-1]])
