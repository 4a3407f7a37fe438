"""Module 5: every rule by itself, what is exported equals what was trained, and the reason says all of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modules.core import evidence
from modules.core.catalog import NEXT
from modules.core.settings import Settings, load_settings
from modules.core.tables import Columns
from modules.m5_meta_fusion import model
from modules.m5_meta_fusion import predictor as live
from tests.conftest import Desk

SETTINGS = load_settings()


def fusion(p_buy: float = 0.95, p_sell: float = 0.05, gain_buy: float = 9.0, gain_sell: float = -9.0) -> model.FusionModel:
    """A fusion that says the same whatever it sees: probability of winning and gross gain in ATR, by side."""
    width = len(model.input_names())

    def side(probability: float, gain: float) -> model.Side:
        odds = float(np.log(probability / (1 - probability)))
        return model.Side(np.zeros(width), odds, 1.0, 0.0, np.zeros(width), gain)

    return model.FusionModel(np.zeros(width), np.ones(width), {"BUY": side(p_buy, gain_buy), "SELL": side(p_sell, gain_sell)})


def signals(**other: Any) -> Columns:
    """One candle at 10:00 UTC (London) on which every input speaks for BUY."""
    row: dict[str, Any] = {
        "timestamp": 10 * 3_600_000,
        "close": 60_000.0,
        "atr": 60.0,
        "atr_ratio": 1.0,
        "depth_btc": 5.0,
        "regime": "TREND_UP",
        "warning": "up",
        "warning_probability": 0.9,
        "specialist": "BUY",
        "p_sell": 0.1,
        "p_buy": 0.8,
        "whale_alert_score": 0.9,
        "impact_type": "buy_pressure",
        "trajectory": 0.8,
        "volatility": 0.1,
        **{column.name: 1 / 8 for column in NEXT},
    }
    return {key: np.array([value], object if isinstance(value, str) else None) for key, value in (row | other).items()}


def decided(
    rule: str = "fused", settings: Settings = SETTINGS, by: model.FusionModel | None = None, **other: Any
) -> model.Decisions:
    return model.decide(by or fusion(), signals(**other), settings, rule)


def test_a_trade_with_everything_for_it() -> None:
    for rule in ("fused", "strict"):
        done = decided(rule)
        assert list(done.signal) == ["BUY"]
        assert done.confidence[0] == pytest.approx(0.95 + 0.1 * 0.9 + 0.1 * 0.8)
        assert done.min_confidence[0] == pytest.approx(0.7 + 0.1 * 1.0 + 0.05 * 0.1)
        assert done.expected_bps[0] == pytest.approx(9 * 10 - 30)
        assert (done.stop[0], done.target[0]) == (60_000 - 120, 60_000 + 180)
        assert done.size[0] == SETTINGS.size.london


def test_a_short_is_the_mirror() -> None:
    by = fusion(0.05, 0.95, -9.0, 9.0)
    against = {
        "impact_type": "sell_pressure",
        "trajectory": -0.8,
        "specialist": "SELL",
        "regime": "TREND_DOWN",
        "warning": "down",
    }
    done = decided("strict", by=by, **against)
    assert list(done.signal) == ["SELL"]
    assert done.confidence[0] == pytest.approx(0.95 + 0.09 + 0.08)
    assert (done.stop[0], done.target[0]) == (60_000 + 120, 60_000 - 180)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"depth_btc": 1.9}, "thinner than 2 BTC"),
        ({"volatility": 0.51}, "sentiment is too volatile"),
        ({"specialist": "SELL"}, "the specialist says the opposite"),
        ({"impact_type": "sell_pressure"}, "a whale alert says the opposite"),
        ({"trajectory": -0.7}, "sentiment says the opposite"),
        ({"atr": 10.0}, "expected value after costs is not above 0 (30 bps a round trip)"),
        ({"atr_ratio": 5.0}, "confidence is below the minimum"),
    ],
)
def test_each_veto_alone_makes_neutral(other: dict[str, Any], said: str) -> None:
    done = decided(**other)
    assert list(done.signal) == ["NEUTRAL"]
    words = model.reason(done, 0)
    assert words.startswith("NEUTRAL: ")
    assert said in words


@pytest.mark.parametrize(
    "other",
    [
        {"specialist": "NEUTRAL"},
        {"whale_alert_score": 0.7},
        {"impact_type": "none"},
        {"trajectory": 0.6},
        {"regime": "RANGE_HIGH"},
        {"warning": "move"},
    ],
)
def test_the_strict_rule_asks_for_every_alignment(other: dict[str, Any]) -> None:
    assert list(decided("strict", **other).signal) == ["NEUTRAL"]
    assert list(decided("fused", **other).signal) == ["BUY"]


def test_no_depth_table_is_no_veto_and_no_evidence_counts_nothing() -> None:
    nothing = {"depth_btc": np.nan, "whale_alert_score": 0.5, "impact_type": "none", "trajectory": 0.0, "volatility": 0.0}
    done = decided(**nothing)
    assert list(done.signal) == ["BUY"]
    assert done.confidence[0] == pytest.approx(0.95)


def test_an_expected_loss_is_never_traded_however_sure() -> None:
    for gain in (3.0, 2.99, -5.0):  # an ATR of 10 bps: 3 ATR are worth the 30 bps of a round trip, and no more
        assert list(decided(by=fusion(0.999, 0.001, gain, -9.0)).signal) == ["NEUTRAL"]
    assert list(decided(by=fusion(0.999, 0.001, 3.01, -9.0)).signal) == ["BUY"]


def test_lower_costs_lower_the_bar_by_just_that() -> None:
    cheap = replace(SETTINGS, costs=replace(SETTINGS.costs, fee=0.0, slippage=0.0))
    assert decided(settings=cheap).expected_bps[0] == pytest.approx(90)


def test_sizes_by_session() -> None:
    for hour, size in ((1, 0.02), (9, 0.03), (15, 0.04), (22, 0.02)):
        assert decided(timestamp=hour * 3_600_000).size[0] == size


def test_many_rows_are_decided_as_one() -> None:
    random = np.random.default_rng(4)
    width, rows = len(model.input_names()), 50
    side = {
        name: model.Side(random.normal(size=width) * 0.1, 0.1, 1.1, -0.1, random.normal(size=width) * 0.1, 0.2)
        for name in ("BUY", "SELL")
    }
    by = model.FusionModel(random.normal(size=width), np.full(width, 2.0), side)
    many = {key: np.repeat(values, rows) for key, values in signals().items()}
    many["p_buy"], many["atr"] = random.random(rows), random.uniform(10, 300, rows)
    together = model.decide(by, many, SETTINGS, "fused")
    for row in range(rows):
        alone = model.decide(by, {key: values[row : row + 1] for key, values in many.items()}, SETTINGS, "fused")
        assert alone.confidence[0] == together.confidence[row]
        assert alone.expected_bps[0] == together.expected_bps[row]
        assert alone.signal[0] == together.signal[row]


def test_what_the_predictor_loads_is_what_was_trained(trained_once: Desk) -> None:
    run = trained_once.open()
    loaded, pickled = live.fusion(run), run.artifacts.load_pickle("meta_fusion_model")
    rows = np.random.default_rng(5).normal(size=(20, len(model.input_names())))
    assert np.array_equal(loaded.standard(rows), pickled.standard(rows))
    for name in ("BUY", "SELL"):
        standard = loaded.standard(rows)
        assert np.array_equal(loaded.sides[name].probability(standard), pickled.sides[name].probability(standard))
        assert np.array_equal(loaded.sides[name].gain(standard), pickled.sides[name].gain(standard))


def test_inputs_follow_the_catalog() -> None:
    assert model.input_rows(signals(), SETTINGS.costs).shape == (1, len(model.input_names()))
    assert model.input_names()[-len(evidence.names()) :] == evidence.names()
