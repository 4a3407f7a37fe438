"""Every feature, held to the laws: nothing from the future, the same live as in the history, always finite."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.errors import PipelineError
from modules.evaluation.lookahead import (
    TOLERANCE,
    another_future,
    features_of,
    flat,
    looking_ahead,
    same,
    unflat,
    warmup_gaps,
)
from modules.m1_data_engine.features import registry, rolling
from modules.m1_data_engine.features.market import Columns, Feature, Market
from tests.m1_data_engine.market import (
    candles_from,
    random_extras,
    random_market,
    real_candles,
)

ROOT = Path(__file__).resolve().parents[2]
ALL = registry.candidates(registry.EXTRA_COLUMNS)
NAMES = [feature.name for feature in ALL]
ROWS = registry.LONGEST_WARMUP + 700


def raw_features(columns: Columns) -> Columns:
    """Every feature of the flat columns, raw: also the rows of the warm-up must not look ahead."""
    market = unflat(columns)
    return {feature.name: feature.compute(market) for feature in ALL}


@pytest.fixture(scope="module")
def market() -> Market:
    return random_market(ROWS)


@pytest.fixture(scope="module")
def values(market: Market) -> np.ndarray:
    return registry.compute(market, ALL)


def test_at_least_150_from_candles_alone_in_ten_families():
    assert len(registry.candidates()) >= 150
    assert len(registry.FAMILIES) == 10
    for family, features in registry.FAMILIES.items():
        assert features
        assert {feature.family for feature in features} == {family}


def test_names_are_unique_and_warmups_fit_the_live_buffer():
    assert len(set(NAMES)) == len(NAMES) == sum(map(len, registry.FAMILIES.values()))
    assert max(feature.warmup for feature in ALL) == registry.LONGEST_WARMUP <= 2_880


def test_candidates_follow_the_tables_in_one_order():
    with_eth = registry.candidates(["eth"])
    assert [f for f in with_eth if not f.needs] == list(registry.candidates())
    assert {f.needs for f in with_eth} == {(), ("eth",)}
    assert [f for f in ALL if set(f.needs) <= {"eth"}] == list(with_eth)


def test_left_out_names_what_is_missing():
    missing = registry.left_out(["eth", "sol", "perp", "premium", "funding", "sentiment"])
    assert set(missing) == {"depth", "whale"}
    assert "depth_imbalance" in missing["depth"]
    assert "whale_sentiment_agreement" in missing["whale"]
    assert registry.left_out(registry.EXTRA_COLUMNS) == {}
    for ask in (registry.candidates, registry.left_out):
        with pytest.raises(ValueError, match="dept; there are depth"):
            ask(["dept"])


def test_named_gives_a_saved_choice_back_or_says_what_is_unknown():
    assert [f.name for f in registry.named(["rsi_14", "log_return_1"])] == ["rsi_14", "log_return_1"]
    with pytest.raises(PipelineError, match="rsi_15"):
        registry.named(["rsi_14", "rsi_15"])


@pytest.mark.parametrize("ask", [raw_features, features_of(ALL)])
def test_no_feature_sees_the_future(market, ask):
    cuts = [1, 2, 3, 15, 61, *np.random.default_rng(3).integers(100, ROWS, 15), ROWS - 2, ROWS - 1]
    assert list(map(str, looking_ahead(ask, flat(market), cuts))) == []


def test_a_feature_that_looks_ahead_is_caught(market):
    def cheats(columns: Columns) -> Columns:
        centred = rolling.lag(rolling.mean(columns["close"][::-1], 3)[::-1], 1)
        return {"centred": centred, "whole": columns["close"] / columns["close"].mean()}

    faults = looking_ahead(cheats, flat(market), [500])
    assert {(fault.column, fault.how) for fault in faults} == {
        (c, h) for c in ("centred", "whole") for h in ("cut off", "changed")
    }
    assert {fault.reach for fault in faults if fault.column == "centred"} == {1}
    assert {fault.reach for fault in faults if fault.column == "whole"} == {500}
    assert "centred: row 499 changes when the future from row 500 on is cut off" in map(str, faults)


def test_another_future_is_of_valid_candles_and_leaves_the_past(market):
    other = another_future(flat(market), 700)
    assert all(same(other[name][:700], values[:700]).all() for name, values in flat(market).items())
    assert (other["low"] <= np.minimum(other["open"], other["close"])).all()
    assert (other["high"] >= np.maximum(other["open"], other["close"])).all()
    assert (other["taker_buy_base"] <= other["volume"]).all()
    assert not same(other["close"][700:], market["close"][700:]).any()


@pytest.mark.parametrize("feature", ALL, ids=NAMES)
def test_the_declared_warmup_is_true_and_enough(market, values, feature):
    column = values[:, NAMES.index(feature.name)]
    assert np.isnan(column[: feature.warmup]).all()
    assert np.isfinite(column[feature.warmup :]).all()
    assert warmup_faults(feature, market) == []


def warmup_faults(feature: Feature, market: Market, usual: float = 0.0) -> list[str]:
    """From its own warm-up's rows, and from those of the live buffer."""

    def one(columns: Columns) -> Columns:
        return {feature.name: feature.compute(unflat(columns))}

    wanted = {key: v for key, v in flat(market).items() if "." not in key or key.split(".")[0] in feature.needs}
    full = one(wanted)
    ends = np.linspace(registry.LONGEST_WARMUP + 10, len(market), 5).astype(int)
    gaps = {
        warmup: warmup_gaps(one, wanted, full, warmup, ends, {feature.name: usual})[feature.name]
        for warmup in {feature.warmup, registry.LONGEST_WARMUP}
    }
    return [f"{feature.name} moves by {gap:g} from a warm-up of {w}" for w, gap in gaps.items() if gap > TOLERANCE]


@pytest.mark.parametrize(("name", "warmup"), [("rsi_14", 150), ("adx_14", 250), ("volatility_60", 59), ("log_return_5", 4)])
def test_too_short_a_warmup_is_caught(market, name, warmup):
    feature = registry.named([name])[0]
    short = Feature(feature.family, name, warmup, feature.compute)
    assert warmup_faults(short, market)


def test_running_sums_are_caught(market):
    """The reason for ``rolling``: a total that is carried along rounds as its history does."""
    drifting = np.cumsum(market["close"])
    drifting = (drifting - rolling.lag(drifting, 60)) / 60
    windows = rolling.mean(market["close"], 60)
    live = rolling.mean(market["close"][-60:], 60)
    assert same(windows[-1:], live[-1:]).all()
    assert not same(drifting[-60:], windows[-60:]).all()


@pytest.mark.parametrize("factor", [8.0, 10.0])
def test_no_feature_is_a_price_level(market, values, factor):
    """Multiply every price: ratios stay, points grow with it. (A factor of 8 is exact in binary, 10 rounds.)"""
    prices = {"open", "high", "low", "close", "quote_volume", "taker_buy_quote"}
    prices |= {"depth.spread", "eth.close", "sol.close", "perp.close"}
    scaled = {name: v * factor if name in prices else v for name, v in flat(market).items()}
    again = registry.compute(unflat(scaled), ALL)
    for column, feature in enumerate(ALL):
        expected = values[:, column] * (factor if feature.unit == "points" else 1.0)
        allowed = 1e-9 * max(np.nanstd(expected), np.nanmax(np.abs(expected)))
        np.testing.assert_allclose(again[:, column], expected, rtol=0, atol=allowed, err_msg=feature.name)


def test_no_feature_is_a_volume_level(market, values):
    volumes = {"volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "depth.bid_btc", "depth.ask_btc"}
    volumes |= {"eth.volume", "eth.taker_buy_base", "sol.volume", "sol.taker_buy_base"}
    scaled = {name: v * 4 if name in volumes else v for name, v in flat(market).items()}
    again = registry.compute(unflat(scaled), ALL)
    for column, feature in enumerate(ALL):
        np.testing.assert_allclose(again[:, column], values[:, column], rtol=1e-9, atol=1e-12, err_msg=feature.name)


def edge_paths(rows: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prices (rows + 1) and volumes (rows) at the edge of what an exchange sends."""
    rng = np.random.default_rng(5)
    steps = np.arange(rows + 1)
    walk = 42_000 * np.exp(np.cumsum(rng.normal(0, 5e-4, rows + 1)))
    constant, volume, nothing = np.full(rows + 1, 42_000.1), rng.lognormal(2, 1, rows), np.zeros(rows)
    return {
        "constant price": (constant, volume),
        "no trade at all": (constant, nothing),
        "price moves without volume": (walk, nothing),
        "always up": (30_000 + 0.01 * steps, volume),
        "always down": (90_000 - 1.0 * steps, volume),
        "to and fro": (42_000 + 5.0 * (steps % 2), volume),
        "jumps tenfold": (np.where(steps // 700 % 2, 4e5, 4e4), volume),
        "tiny price, huge volume": (walk * 1e-9, volume * 1e12),
        "dust": (walk, np.full(rows, 1e-8)),
        "dies": (np.where(steps < 700, walk, walk[700]), np.where(steps[1:] < 700, volume, 0.0)),
        "wakes": (np.where(steps > 2_800, walk, walk[2_800]), np.where(steps[1:] > 2_800, volume, 0.0)),
        "halts": (np.where(steps // 600 % 2, walk, walk[600]), np.where(steps[1:] // 600 % 2, volume, 0.0)),
        "only buyers": (walk, volume),
        "only sellers": (walk, volume),
        "high is low": (walk, volume),
    }


KINDS = tuple(edge_paths(ROWS))


def edge_market(kind: str) -> Market:
    """Valid candles of that kind, beside ordinary optional tables."""
    candles = candles_from(*edge_paths(ROWS)[kind], np.random.default_rng(6))
    if kind == "only buyers":
        candles |= {"taker_buy_base": candles["volume"], "taker_buy_quote": candles["quote_volume"]}
    if kind == "only sellers":
        candles |= {"taker_buy_base": np.zeros(ROWS), "taker_buy_quote": np.zeros(ROWS)}
    if kind == "high is low":
        candles |= {name: candles["close"].copy() for name in ("open", "high", "low")}
    return Market(candles, random_extras(candles))


@pytest.fixture(scope="module")
def usual(market, values) -> dict[str, float]:
    """By how much each feature usually varies; those in points, at a price of 1."""
    price = market["close"].mean()
    return {
        feature.name: float(np.nanstd(column)) / (price if feature.unit == "points" else 1.0)
        for feature, column in zip(ALL, values.T, strict=True)
    }


def served_unlike_trained(market: Market, usual: dict[str, float]) -> list[str]:
    price = market["close"][-1]
    return [
        fault
        for feature in registry.candidates()
        for fault in warmup_faults(feature, market, usual[feature.name] * (price if feature.unit == "points" else 1.0))
    ]


def assert_finite(market: Market) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = registry.compute(market, ALL)
    for column, feature in enumerate(ALL):
        assert np.isfinite(values[feature.warmup :, column]).all(), feature.name
        assert np.abs(values[feature.warmup :, column]).max() < 1e9, feature.name


@pytest.mark.parametrize("kind", KINDS)
def test_edge_candles_give_finite_values_and_no_warning(kind):
    assert_finite(edge_market(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_edge_candles_are_served_as_trained(kind, usual):
    assert served_unlike_trained(edge_market(kind), usual) == []


def test_empty_depth_gives_finite_values():
    market = random_market(200)
    market.extras["depth"] = {name: np.zeros(200) for name in registry.EXTRA_COLUMNS["depth"]}
    depth = [feature for feature in ALL if feature.needs == ("depth",)]
    values = registry.compute(market, depth)
    assert np.isfinite(values[max(f.warmup for f in depth) :]).all()


STRETCHES = {"quiet": 1e-5, "wild": 1e-2, "dead": 0.0, "halted": 0.0, "step": 0.0}
"""How far the price moves in a minute of them; a step is one move of many percent, and halts have no volume either."""


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.integers(-3, 6),
    stretches=st.lists(st.tuples(st.sampled_from(sorted(STRETCHES)), st.integers(1, 1_500)), min_size=1),
)
def test_any_valid_candles_give_finite_values_served_as_trained(usual, seed, scale, stretches):
    rng = np.random.default_rng(seed)
    rows = registry.LONGEST_WARMUP + 20
    moves, traded = [], []
    for kind, length in stretches:
        moves.append(rng.normal(0, 1, length) * STRETCHES[kind])
        if kind == "step":
            moves[-1][0] = rng.normal(0, 0.3)
        traded.append(np.full(length, kind != "halted"))
    move = np.resize(np.concatenate(moves), rows)
    volume = rng.lognormal(0, 3, rows) * np.resize(np.concatenate(traded), rows)
    prices = 10.0**scale * np.exp(np.clip(np.concatenate(([0.0], np.cumsum(move))), -5, 5))
    candles = candles_from(prices, volume, rng)
    market = Market(candles, random_extras(candles, seed % 1_000))
    assert_finite(market)
    assert served_unlike_trained(market, usual) == []


def test_unknown_values_of_a_table_stay_in_their_windows(market, values):
    """A gap in an optional table makes exactly the rows NaN whose window reaches it."""
    gap = 1_000
    columns = {name: v.copy() for name, v in flat(market).items()}
    for name, column in columns.items():
        if "." in name:
            column[gap] = np.nan
    again = registry.compute(unflat(columns), ALL)
    for column, feature in enumerate(ALL):
        touched = np.flatnonzero(~same(again[:, column], values[:, column]))
        assert bool(feature.needs) == bool(len(touched)), feature.name
        if feature.needs:
            assert np.isnan(again[touched, column]).all(), feature.name
            assert gap <= touched.min() <= touched.max() <= gap + feature.warmup, feature.name


@pytest.mark.parametrize("rows", [1, 2, 59, 60])
def test_short_markets_are_all_warmup(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = registry.compute(random_market(rows), ALL)
    assert values.shape == (rows, len(ALL))
    for column, feature in enumerate(ALL):
        assert np.isfinite(values[feature.warmup :, column]).all(), feature.name


def test_a_choice_of_features_gives_the_same_bits_as_all_of_them(market, values):
    chosen = registry.named(["weighted_rsi", "macd_signal_12_26", "volatility_60", "di_difference_14"])
    few = registry.compute(random_market(ROWS), chosen)
    for column, feature in enumerate(chosen):
        assert same(few[:, column], values[:, NAMES.index(feature.name)]).all()


def test_computing_changes_neither_the_market_nor_a_cached_intermediate(market):
    before = {name: v.copy() for name, v in flat(market).items()}
    for array in flat(market).values():
        array.flags.writeable = False
    try:
        first = registry.compute(unflat(flat(market)), ALL)
        reused = unflat(flat(market))
        registry.compute(reused, ALL)
        again = registry.compute(reused, ALL[::-1])[:, ::-1]
    finally:
        for array in flat(market).values():
            array.flags.writeable = True
    assert same(first, again).all()
    assert all((before[name] == v).all() for name, v in flat(market).items())


def test_real_candles_obey_the_same_laws():
    candles = real_candles(5_000, skip=1_000)
    features = registry.candidates()
    real, ask = flat(Market(candles)), features_of(registry.candidates())
    full = ask(real)
    for feature in features:
        assert np.isfinite(full[feature.name][feature.warmup :]).all(), feature.name
    assert list(map(str, looking_ahead(ask, real, [7, 1_441, 2_881, 4_999]))) == []
    assert max(warmup_gaps(ask, real, full, registry.LONGEST_WARMUP, range(2_900, 5_001, 300)).values()) <= TOLERANCE
    assert [fault for feature in features for fault in warmup_faults(feature, Market(candles))] == []


@pytest.mark.parametrize(
    ("before", "hidden"),
    [("", True), ("import pandas", False), ("import talib", False)],
    ids=["alone", "pandas", "talib"],
)
def test_talib_comes_without_pandas_and_leaves_it_importable(before, hidden):
    pytest.importorskip("pandas")
    script = f"""
import sys
{before}
from modules.m1_data_engine.features import registry
assert ("pandas" not in sys.modules) is {hidden}, "pandas"
assert sys.modules.get("polars", 0) is not None
import pandas
from modules.core.talib_light import talib
assert pandas.Series([1.0]).sum() == talib.MAX(pandas.Series([1.0, 1.0]).to_numpy(), 2)[-1]
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
