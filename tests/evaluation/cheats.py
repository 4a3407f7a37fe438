"""Features and pipelines that cheat, each in one way: ``--analyze`` must name every one of them.

As a file of the user's own features this module is a file like any other; the pipelines' cheats are put in the place of the
honest function by ``put``.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from modules.core import labels
from modules.core.module import Run
from modules.core.splits import PurgedWalkForward
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS
from modules.m1_data_engine import predictor as m1_live
from modules.m1_data_engine import trainer as m1_trainer
from modules.m1_data_engine.features import rolling
from modules.m1_data_engine.features.market import Array, Feature, Market
from modules.m2_regime.model import RegimeModel

AHEAD = 5
FILE = Path(__file__)


def ahead(values: Array, rows: int) -> Array:
    """The value ``rows`` rows later."""
    return np.append(values[rows:], np.full(len(values), np.nan))[: len(values)]


def centred_window(market: Market) -> Array:
    """The close over the mean of the minutes around it."""
    return market["close"] / ahead(rolling.mean(market["close"], 2 * AHEAD + 1), AHEAD) - 1


def future_shift(market: Market) -> Array:
    """The return of the minutes that come."""
    return np.log(ahead(market["close"], AHEAD) / market["close"])


def whole_sample_scaler(market: Market) -> Array:
    """Volume, standardised with the mean and deviation of everything there is."""
    volume = np.log1p(market["volume"])
    return (volume - volume.mean()) / volume.std()


def label_itself(market: Market) -> Array:
    """Which side is reached first."""
    distance = labels.move_points(market["close"], 0, 30.0)
    return labels.first_side(market["high"], market["low"], market["close"], distance, 15)[0].astype(float)


def endless_average(market: Market) -> Array:
    """Honest about the future, but its average never forgets where the history began."""
    return market["close"] / (np.cumsum(market["close"]) / np.arange(1, len(market) + 1)) - 1


def honest(market: Market) -> Array:
    """Nothing but the past."""
    return market["close"] / rolling.mean(market["close"], 33) - 1


FEATURES = (
    Feature("own", "centred_window", AHEAD, centred_window),
    Feature("own", "future_shift", 0, future_shift),
    Feature("own", "whole_sample_scaler", 0, whole_sample_scaler),
    Feature("own", "label_itself", 0, label_itself),
    Feature("own", "endless_average", 100, endless_average),
    Feature("own", "honest_distance", 32, honest),
)


def smoothed_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regimes by the forward and the backward pass: what they are called in hindsight."""
    filtered = RegimeModel.filtered

    def smoothed(self: RegimeModel, axes: Array, memory: int, count: int | None = None) -> Array:
        state = filtered(self, axes, memory, count)
        likelihood = np.exp(self.log_densities(axes))[:, -len(state) :].T + 1e-12
        backward = np.ones_like(state)
        for row in range(len(state) - 2, -1, -1):
            backward[row] = self.transitions @ (likelihood[row + 1] * backward[row + 1])
            backward[row] /= backward[row].sum()
        both = state * backward
        return both / both.sum(axis=1, keepdims=True)

    monkeypatch.setattr(RegimeModel, "filtered", smoothed)


def in_fold_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories by models that have seen the block which they answer for, though none after it."""

    def in_sample(self: PurgedWalkForward, rows: int) -> Iterator[tuple[Array, Array]]:
        bounds = self.bounds(rows)
        for start, end in pairwise(bounds[1:]):
            yield np.arange(end), np.arange(start, end)

    monkeypatch.setattr(PurgedWalkForward, "split", in_sample)


def whole_history_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk scaled by the range of all rows, those that come included."""
    write_chunks, fit = m1_trainer._write_chunks, MinMaxScaler.fit

    def leaking(run: Run, candles: Columns, around: Columns, raw: Array, rows: Array, names: list[str]) -> object:
        monkeypatch.setattr(MinMaxScaler, "fit", lambda self, part: fit(self, raw[rows]))
        return write_chunks(run, candles, around, raw, rows, names)

    monkeypatch.setattr(m1_trainer, "_write_chunks", leaking)


def forming_candle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live rows whose newest candle goes on into the minute that has not closed."""
    contiguous = m1_live._contiguous

    def unfinished(run: Run, timestamp: int) -> Columns:
        candles = {name: values.copy() for name, values in contiguous(run, timestamp).items()}
        rows = run.workspace.read("candles_live")
        for at in np.flatnonzero(rows["timestamp"] == timestamp + MINUTE_MS):
            candles["close"][-1] = rows["close"][at]
            candles["high"][-1] = max(candles["high"][-1], rows["high"][at])
            candles["low"][-1] = min(candles["low"][-1], rows["low"][at])
            candles["volume"][-1] += rows["volume"][at]
        return candles

    monkeypatch.setattr(m1_live, "_contiguous", unfinished)


def prophetic_table(run: Run) -> None:
    """Another coin's candles that hold what BTC will do: no change of BTC's own candles shows it."""
    candles = run.workspace.read("candles_history")
    close = np.append(candles["close"][1:], candles["close"][-1:])
    eth = {"timestamp": candles["timestamp"], "close": close, "volume": candles["volume"]}
    run.workspace.write("eth_history", eth | {"taker_buy_base": candles["taker_buy_base"]})
