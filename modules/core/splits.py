"""Walk-forward splits: the past trains, the next block tests, and between them lies a gap."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

IN_SAMPLE, OUT_OF_SAMPLE = -1, 99
"""Fold numbers of rows that no walk-forward block covers: the first block, and the tail that nothing is fitted on."""


@dataclass(frozen=True)
class PurgedWalkForward:
    """Expanding windows over rows in time order, after López de Prado, *Advances in Financial Machine Learning* (2018),
    chapter 7, with training rows in the past only.

    Parameters
    ----------
    folds : number of equal blocks; block 0 only ever trains
    purge : rows dropped before each test block because their labels reach into it (the label horizon)
    embargo : rows dropped beside the purge, against what lingers in features

    >>> [(len(train), *test[[0, -1]].tolist()) for train, test in PurgedWalkForward(4, purge=2, embargo=1).split(20)]
    [(2, 5, 9), (7, 10, 14), (12, 15, 19)]
    """

    folds: int
    purge: int
    embargo: int

    def bounds(self, rows: int) -> np.ndarray:
        """(folds + 1,) row numbers at which the blocks begin and the last one ends."""
        return np.linspace(0, rows, self.folds + 1).astype(int)

    def split(self, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For block 1, 2, …: the row numbers to train on and those to test on."""
        bounds = self.bounds(rows)
        for start, end in pairwise(bounds[1:]):
            yield np.arange(max(0, start - self.purge - self.embargo)), np.arange(start, end)

    def fold_of(self, rows: int, training_rows: int) -> np.ndarray:
        """(rows,) the block of each row; IN_SAMPLE for block 0, OUT_OF_SAMPLE from ``training_rows`` on."""
        folds = np.searchsorted(self.bounds(training_rows), np.arange(rows), side="right") - 1
        folds[folds == 0] = IN_SAMPLE
        folds[training_rows:] = OUT_OF_SAMPLE
        return folds
