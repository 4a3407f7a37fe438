"""Module 1's arithmetic beside the features: bins, selection, chunks, drift, missing values, and what live serves."""

import numpy as np
import pytest

from modules.core.catalog import CONTEXT
from modules.core.module import Run
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS
from modules.m1_data_engine import context, model, predictor
from modules.m1_data_engine.candle_files import COLUMNS
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Market
from modules.m1_data_engine.sources import _newest_run
from tests.conftest import Desk


def test_no_feature_has_the_name_of_a_context_column() -> None:
    names = {feature.name for family in registry.FAMILIES.values() for feature in family}
    assert not names & {column.name for column in CONTEXT}


@pytest.mark.parametrize("share", [0.01, 0.03, 0.97, 0.99])
def test_a_rare_flag_keeps_its_two_bins(share: float) -> None:
    flag = (np.random.default_rng(1).random(20_000) < share).astype(float)
    assert len(np.unique(model.bins(flag))) == 2


def test_bins_are_quantiles_of_a_continuous_column() -> None:
    counts = np.bincount(model.bins(np.random.default_rng(2).normal(size=16_000)))
    assert len(counts) in (16, 17)
    assert (counts[1:] > 900).all()


def test_two_rare_flags_that_never_meet_are_both_kept() -> None:
    random = np.random.default_rng(3)
    flags = (random.random((20_000, 2)) < 0.02).astype(float)
    assert model.select([np.array([1.0, 0.9])], flags, 2, 0.9) == [0, 1]


def test_a_column_that_says_the_same_is_passed_over_and_rankings_take_turns() -> None:
    random = np.random.default_rng(4)
    base = random.normal(size=(5_000, 3))
    sample = np.column_stack([base[:, 0], np.exp(base[:, 0]), base[:, 1], base[:, 2]])
    assert model.select([np.array([4.0, 3, 2, 1])], sample, 3, 0.9) == [0, 2, 3]
    assert model.select([np.array([4.0, 3, 2, 1]), np.array([1.0, 2, 3, 4])], sample, 3, 0.9) == [0, 3, 2]


@pytest.mark.parametrize(("rows", "sizes"), [(10_001, [5_000, 5_001]), (12_600, [5_000, 5_000, 2_600]), (900, [900])])
def test_a_short_rest_joins_the_chunk_before_it(rows: int, sizes: list[int]) -> None:
    parts = model.chunks(np.arange(rows), 5_000)
    assert [len(part) for part in parts] == sizes
    assert np.array_equal(np.concatenate(parts), np.arange(rows))


def test_steady_drift_is_seen() -> None:
    """A feature that marches on by its own range each chunk drifts by 1 in the scaling of the chunk before."""
    values = np.concatenate([np.linspace(k, k + 1, 100) for k in range(4)])[:, None]
    for k in range(3):
        before, after = values[k * 100 : k * 100 + 100], values[k * 100 + 100 : k * 100 + 200]
        scaler = model.Scaler(before.min(axis=0), before.max(axis=0))
        assert model.drift(scaler.scale(before), scaler.scale(after)) == pytest.approx(1, abs=0.05)


def test_an_observation_is_carried_on_for_a_while_and_no_longer() -> None:
    rows = np.ones((100, 20))
    rows[10:15, 0] = np.nan
    rows[50:, 1] = np.nan
    keep = model.fill_missing(rows, 0.05, 20)
    assert keep[:70].all()
    assert not keep[70:].any()
    assert (rows[10:15, 0] == 1).all()


def test_a_minute_that_the_depth_table_does_not_know_has_no_depth() -> None:
    rows = context.WARMUP + 5
    candles = {name: np.full(rows, 100.0) for name in COLUMNS} | {"timestamp": np.arange(rows) * MINUTE_MS}
    side = np.full(rows, 7.0)
    side[-1] = np.nan
    depth = {"bid_btc": side, "ask_btc": side, "spread": side}
    assert list(context.context(Market(candles, {"depth": depth}))["depth_btc"][-2:]) == [7.0, 0.0]
    assert np.isnan(context.context(Market(candles))["depth_btc"]).all()


def test_nothing_before_a_long_hole_of_the_exchange_is_taken() -> None:
    rows = [[i * MINUTE_MS] for i in (0, 1, 2, 90, 91, 95)]
    assert _newest_run(rows, 60) == rows[3:]
    assert _newest_run(rows, 100) == rows


class Hole:
    """A source whose candles begin some minutes after those on disk."""

    def __init__(self, candles: Columns):
        self.rows = candles

    def candles(self, after_ms: int | None, upto_ms: int, count: int) -> Columns:
        return self.rows

    def extra(self, name: str, after_ms: int | None, upto_ms: int, count: int) -> Columns | None:
        return None


def test_a_short_hole_between_disk_and_exchange_is_filled_flat(replayed: Desk) -> None:
    run: Run = replayed.open()
    last = run.workspace.read("candles_live", last=1)
    stamp = int(last["timestamp"][0])
    fresh = {name: values.copy() for name, values in last.items() if name != "status"}
    fresh["timestamp"] = np.array([stamp + 4 * MINUTE_MS])
    run.source = Hole(fresh)
    predictor.predict(run, stamp + 4 * MINUTE_MS)
    rows = run.workspace.read("candles_live", last=5)
    assert list(np.diff(rows["timestamp"])) == [MINUTE_MS] * 4
    assert (rows["volume"][1:4] == 0).all()
    assert (rows["close"][1:4] == last["close"][0]).all()


def test_a_features_table_holds_what_its_file_holds(trained: Desk) -> None:
    """A tree may split between 0 and 1e-17, which the file cannot tell apart: batch, live and training read the same."""
    run, rows = trained.open(), 400
    random = np.random.default_rng(5)
    around = {column.name: random.uniform(0, 1, rows) for column in CONTEXT}
    columns = model.table(np.arange(rows) * MINUTE_MS, around, random.uniform(0, 1, (rows, 2)) ** 20, ["a", "b"])
    run.workspace.write("chunk", columns, 9)
    again = run.workspace.read("chunk", 9)
    for name, values in columns.items():
        np.testing.assert_allclose(values, again[name], rtol=1e-15, atol=0)
    assert (again["a"] == 0).any()
