"""What every room said, held together in one table: each column is what it is called."""

import numpy as np
import pytest

from modules.core.catalog import SAID
from modules.core.tables import Columns
from modules.evaluation import testimony as tested
from modules.evaluation.batch import with_history
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.predictor import scaling
from tests.conftest import Desk


def said_of(desk: Desk) -> Columns:
    run = desk.open()
    return tested.testimony(run, with_history(run, read_candles(desk.follow)[0]))


def test_the_columns_agree_with_one_another(trained_once: Desk) -> None:
    said = said_of(trained_once)
    assert sorted(said) == sorted({"timestamp", *(column.name for column in SAID)})
    alone = (said["impact_type"] == "none") & (said["trajectory"] == 0)
    buys = said["promised"] == "BUY"
    assert alone.any()
    assert 0 < buys.sum() < len(buys)
    chance = np.where(buys, said["profit_buy"], said["profit_sell"])
    assert said["confidence"][alone] == pytest.approx(chance[alone])
    for rule in tested.RULES:
        called = said[rule] != "NEUTRAL"
        assert (said[rule][called] == said["promised"][called]).all()


def test_hindsight_is_the_chain_that_knows_all(trained_once: Desk) -> None:
    said = said_of(trained_once)
    agreed = said["hindsight"] == said["regime"]
    assert 0.8 < agreed.mean() < 1


def test_a_candle_that_lacks_a_feature_is_neutral(trained_once: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    called = np.flatnonzero(said_of(trained_once)["fused"] != "NEUTRAL")
    assert len(called) >= 2
    whole, name = tested.live_tables, scaling(trained_once.open())[0][0]

    def torn(*given: object) -> dict[str, Columns]:
        tables = whole(*given)  # type: ignore[arg-type]
        tables["live_features"][name] = tables["live_features"][name].copy()
        tables["live_features"][name][called[0]] = np.nan
        return tables

    monkeypatch.setattr(tested, "live_tables", torn)
    found = said_of(trained_once)["fused"]
    assert found[called[0]] == "NEUTRAL"
    assert found[called[1]] != "NEUTRAL"
