"""Values of features checked against their formulas, by hand or by a slow and plain computation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.talib_light import talib
from modules.core.words import DAY_MINUTES, MINUTE_MS
from modules.m1_data_engine.features import registry, rolling
from modules.m1_data_engine.features.common import atr, ema_rows, wilder_rows
from modules.m1_data_engine.features.market import Columns, Market
from tests.m1_data_engine.market import START, random_market

ROWS = 3_000


@pytest.fixture(scope="module")
def market() -> Market:
    return random_market(ROWS, seed=4)


def last(market: Market, name: str) -> float:
    return float(registry.compute(market, registry.named([name]))[-1, 0])


def candles(*rows: tuple[float, float, float, float], volume: float = 2.0) -> Market:
    """A market of (open, high, low, close), each with that volume, all at the close, half of it bought."""
    opens, highs, lows, closes = np.array(rows, dtype=float).T
    count, volumes = len(rows), np.full(len(rows), volume)
    columns: Columns = {
        "timestamp": START + MINUTE_MS * np.arange(count),
        "open": opens,
        "high": highs,
        "low": lows,
        "close": closes,
        "volume": volumes,
        "quote_volume": volumes * closes,
        "trades": np.full(count, 4.0),
        "taker_buy_base": volumes / 2,
        "taker_buy_quote": volumes / 2 * closes,
    }
    return Market(columns)


def plain_rsi(close: np.ndarray, window: int) -> np.ndarray:
    """Wilder's own rule, a row at a time."""
    steps = np.diff(close)
    gain, loss = np.maximum(steps[:window], 0).mean(), np.maximum(-steps[:window], 0).mean()
    values = [math.nan] * window + [100 * gain / (gain + loss)]
    for step in steps[window:]:
        gain = (gain * (window - 1) + max(step, 0)) / window
        loss = (loss * (window - 1) + max(-step, 0)) / window
        values.append(100 * gain / (gain + loss))
    return np.array(values)


@pytest.mark.parametrize("window", [7, 14, 28])
def test_rsi_is_wilders(market, window):
    assert last(market, f"rsi_{window}") == pytest.approx(plain_rsi(market["close"], window)[-1], rel=1e-12)


@pytest.mark.parametrize("window", [14, 28])
def test_directional_movement_is_talibs_on_candles_that_move(market, window):
    ohlc = (market["high"], market["low"], market["close"])
    for name, function in (("adx", talib.ADX), ("plus_di", talib.PLUS_DI), ("minus_di", talib.MINUS_DI)):
        assert last(market, f"{name}_{window}") == pytest.approx(function(*ohlc, window)[-1], rel=1e-10)


def test_weighted_rsi_weighs_the_last_50_rows(market):
    weights = np.exp(np.linspace(-1, 0, 50))
    expected = (plain_rsi(market["close"], 14)[-50:] * weights).sum() / weights.sum()
    assert last(market, "weighted_rsi") == pytest.approx(expected, rel=1e-12)


def test_weighted_volume_is_volume_over_its_weighted_mean(market):
    weights, volume = np.exp(np.linspace(-1, 0, 50)), market["volume"]
    expected = volume[-1] / ((volume[-50:] * weights).sum() / weights.sum())
    assert last(market, "weighted_volume") == pytest.approx(expected, rel=1e-12)


def test_an_unmoved_price_has_no_momentum():
    still = candles(*[(100.0, 100.0, 100.0, 100.0)] * 1_500)
    for name in ("rsi_7", "rsi_14", "mfi_14", "weighted_rsi"):
        assert last(still, name) == pytest.approx(50, rel=1e-14)
    assert last(still, "williams_r_21") == -50
    assert last(still, "stochastic_k_14") == 0.5
    for name in ("cci_20", "macd_line_12_26", "wave_trend", "awesome_oscillator", "trend_t_60", "band_position_20"):
        assert last(still, name) == 0


def test_parkinson_and_garman_klass_of_one_candle_repeated():
    market = candles(*[(100.0, 102.0, 99.0, 101.0)] * 15)
    wide, move = math.log(102 / 99), math.log(101 / 100)
    assert last(market, "parkinson_15") == pytest.approx(wide / math.sqrt(4 * math.log(2)), rel=1e-12)
    expected = math.sqrt(wide**2 / 2 - (2 * math.log(2) - 1) * move**2)
    assert last(market, "garman_klass_15") == pytest.approx(expected, rel=1e-12)


def test_vwap_distance_of_two_prices():
    market = candles(*[(100.0, 100.0, 100.0, 100.0)] * 10, *[(106.0, 106.0, 106.0, 106.0)] * 5)
    assert last(market, "vwap_distance_15") == pytest.approx(106 / 102 - 1, rel=1e-12)


def test_atr_and_ranges_in_points():
    rows = [(100.0 + 5 * (i % 2), 110.0, 95.0, 100.0 + 5 * (i % 2)) for i in range(900)]
    market = candles(*rows)
    assert last(market, "atr_points_14") == pytest.approx(15, rel=1e-12)
    assert last(market, "range_points_15") == 15
    assert last(market, "move_points_60") == pytest.approx(5 * math.sqrt(15), rel=1e-12)


def test_levels_of_a_swing():
    market = candles(*[(100.0, 200.0, 100.0, 150.0)] * 240)
    assert last(market, "fib_500_distance") == 0
    assert last(market, "fib_236_distance") == pytest.approx((150 - 176.4) / 150)
    assert last(market, "fib_786_distance") == pytest.approx((150 - 121.4) / 150)
    assert last(market, "support_points_240") == last(market, "resistance_points_240") == 50
    assert last(market, "range_position_240") == 0.5


def test_volume_flows_with_the_price():
    up = candles(*[(100.0 + i, 101.0 + i, 100.0 + i, 101.0 + i) for i in range(62)])
    assert last(up, "obv_60") == last(up, "accumulation_60") == 1
    assert last(up, "mfi_28") == 100
    assert last(up, "volume_concentration_60") == pytest.approx(1)
    assert last(up, "taker_buy_ratio_60") == 0.5
    assert last(up, "efficiency_60") == pytest.approx(1)
    assert last(up, "run_length") == 15
    assert last(up, "higher_highs_60") == 1
    assert last(up, "breakout_60") == 1
    assert last(up, "trend_fit_60") == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "before", "candle", "expected"),
    [
        ("doji", (100, 101, 99, 100.5), (100, 105, 95, 100.5), 1),
        ("doji", (100, 101, 99, 100.5), (100, 105, 95, 104), 0),
        ("hammer", (100, 101, 99, 100.5), (100, 101.2, 97, 101), 1),
        ("hammer", (100, 101, 99, 100.5), (100, 102, 97, 101), 0),
        ("shooting_star", (100, 101, 99, 100.5), (101, 104, 99.8, 100), 1),
        ("engulfing", (101, 102, 99, 100), (99.5, 103, 99, 101.5), 1),
        ("engulfing", (100, 102, 99, 101), (101.5, 103, 99, 99.5), -1),
        ("engulfing", (100, 102, 99, 101), (101, 103, 100, 102), 0),
        ("inside_candle", (100, 105, 95, 101), (101, 104, 96, 102), 1),
        ("inside_candle", (100, 104, 96, 101), (101, 105, 95, 102), -1),
        ("body_ratio", (100, 101, 99, 100.5), (100, 105, 95, 104), 0.4),
        ("upper_shadow_ratio", (100, 101, 99, 100.5), (100, 105, 95, 104), 0.1),
        ("lower_shadow_ratio", (100, 101, 99, 100.5), (100, 105, 95, 104), 0.5),
        ("close_location", (100, 101, 99, 100.5), (100, 105, 95, 104), 0.8),
    ],
)
def test_shapes_of_candles(name, before, candle, expected):
    assert last(candles(before, candle), name) == pytest.approx(expected)


def test_hidden_divergence_is_a_higher_low_at_a_lower_rsi():
    """A long rise, a sharp dip that stays above the low of the window before: price holds, RSI does not."""
    rise = [(100.0 + i, 101.0 + i, 100.0 + i, 101.0 + i) for i in range(700)]
    top = rise[-1][3]
    dip = [(top - 2 * i, top - 2 * i, top - 2 * i - 2, top - 2 * i - 2) for i in range(6)]
    assert last(candles(*rise, *dip), "hidden_divergence_15") == 1
    assert last(candles(*rise), "hidden_divergence_15") == 0


def test_seasonality_is_what_followed_this_minute_on_the_two_days_before():
    ranges = np.ones(3 * DAY_MINUTES)
    now = len(ranges) - 1
    ranges[now - 2 * DAY_MINUTES + 1 : now - 2 * DAY_MINUTES + 16] = 7
    ranges[now - DAY_MINUTES + 1 : now - DAY_MINUTES + 16] = 3
    market = candles(*[(100.0, 100.0 + size, 100.0, 100.0) for size in ranges])
    assert last(market, "seasonal_range_points") == pytest.approx(5)
    ranges[now], ranges[now - DAY_MINUTES], ranges[now - 2 * DAY_MINUTES] = 9, 2, 4
    market = candles(*[(100.0, 100.0 + size, 100.0, 100.0) for size in ranges])
    assert last(market, "seasonal_surprise") == pytest.approx(3)


def test_the_clock():
    """START is a Thursday: the Monday after it at midnight, and the Saturday at 14:45."""
    minutes = {"monday": 4 * DAY_MINUTES, "saturday": 2 * DAY_MINUTES + 14 * 60 + 45}
    found = {}
    for name, minute in minutes.items():
        market = candles((100.0, 100.0, 100.0, 100.0))
        market.candles["timestamp"] = np.array([START + minute * MINUTE_MS])
        features = [feature for feature in registry.candidates() if feature.family == "time"]
        found[name] = dict(zip([f.name for f in features], registry.compute(market, features)[0], strict=True))
    monday, saturday = found["monday"], found["saturday"]
    assert (monday["weekday_sin"], monday["weekday_cos"], monday["weekend"]) == (0, 1, 0)
    assert (monday["session_asia"], monday["session_ny"], monday["session_progress"]) == (1, 0, 0)
    assert saturday["weekend"] == saturday["session_ny"] == 1
    assert saturday["session_asia"] == saturday["session_london"] == saturday["session_off"] == 0
    assert saturday["session_progress"] == pytest.approx(1.75 / 8)
    assert saturday["hour_sin"] == pytest.approx(math.sin(2 * math.pi * 14 / 24))
    assert saturday["minute_of_day_cos"] == pytest.approx(math.cos(2 * math.pi * 14.75 / 24))
    assert saturday["weekday_sin"] == pytest.approx(math.sin(2 * math.pi * 5 / 7))
    assert saturday["quarter_progress"] == 0


def test_who_takes(market):
    volume, bought = market["volume"][-15:], market["taker_buy_base"][-15:]
    quote, paid = market["quote_volume"][-15:], market["taker_buy_quote"][-15:]
    assert last(market, "taker_buy_ratio_15") == pytest.approx(bought.sum() / volume.sum())
    assert last(market, "toxicity_15") == pytest.approx(np.abs(2 * bought - volume).sum() / volume.sum())
    flow = (2 * bought - volume).mean() / market["volume"][-DAY_MINUTES:].mean()
    assert last(market, "order_flow_15") == pytest.approx(flow)
    premium = paid.sum() / bought.sum() / ((quote - paid).sum() / (volume - bought).sum()) - 1
    assert last(market, "buyers_premium_15") == pytest.approx(premium, abs=1e-12)
    size, trades = market["volume"], market["trades"]
    day = size[-DAY_MINUTES:].sum() / trades[-DAY_MINUTES:].sum()
    assert last(market, "trade_size_15") == pytest.approx(volume.sum() / trades[-15:].sum() / day)


def test_the_book_the_whales_and_the_news(market):
    depth = {name: market.extra("depth", name)[-1] for name in registry.EXTRA_COLUMNS["depth"]}
    both = depth["bid_btc"] + depth["ask_btc"]
    assert last(market, "depth_imbalance") == pytest.approx((depth["bid_btc"] - depth["ask_btc"]) / both)
    assert last(market, "spread") == pytest.approx(depth["spread"] / market["close"][-1])
    signed = market.extra("whale", "whale_alert_score") * market.extra("whale", "impact")
    assert last(market, "whale_signed_mean_60") == pytest.approx(signed[-60:].mean())
    trajectory = market.extra("sentiment", "trajectory")
    assert last(market, "sentiment_change_15") == pytest.approx(trajectory[-1] - trajectory[-16])


def test_beside_other_coins(market):
    btc, eth = np.log(market["close"]), np.log(market.extra("eth", "close"))
    moves, others = np.diff(btc), np.diff(eth)
    assert last(market, "eth_correlation_60") == pytest.approx(np.corrcoef(moves[-60:], others[-60:])[0, 1])
    assert last(market, "eth_lead_correlation_60") == pytest.approx(np.corrcoef(moves[-60:], others[-61:-1])[0, 1])
    strength = btc[-1] - btc[-61] - (eth[-1] - eth[-61])
    assert last(market, "eth_relative_strength_60") == pytest.approx(strength, rel=1e-9)
    slope = np.polyfit(others[-240:], moves[-240:], 1)[0]
    assert last(market, "eth_beta_240") == pytest.approx(slope)
    assert last(market, "basis") == pytest.approx(market.extra("perp", "close")[-1] / market["close"][-1] - 1)


def test_the_trend_and_its_statistic(market):
    close = market["close"][-60:]
    time = np.arange(60)
    slope = np.polyfit(time, close, 1)[0]
    assert last(market, "trend_slope_60") == pytest.approx(slope * 60 / close[-1])
    r = np.corrcoef(time, close)[0, 1]
    assert last(market, "trend_t_60") == pytest.approx(r * math.sqrt(58 / (1 - r * r)))
    assert last(market, "trend_fit_60") == pytest.approx(r * r)


def test_the_day_before_ranks_the_volatility():
    calm = random_market(1_700, seed=1)
    wild = random_market(1_700, seed=1)
    for market, factor in ((calm, 0.01), (wild, 100)):
        close = market["close"]
        close[-61:] = close[-61] * (close[-61:] / close[-61]) ** factor
    assert (last(calm, "volatility_rank_day"), last(calm, "volatility_class")) == (0, -1)
    assert (last(wild, "volatility_rank_day"), last(wild, "volatility_class")) == (1, 1)


PLAIN = {
    "total": (rolling.total, np.sum),
    "mean": (rolling.mean, np.mean),
    "deviation": (rolling.deviation, np.std),
    "mean_deviation": (rolling.mean_deviation, lambda x: np.abs(x - x.mean()).mean()),
    "slope": (lambda x, w: rolling.trend(x, w)[0], lambda x: np.polyfit(np.arange(len(x)), x, 1)[0]),
}


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(PLAIN)), window=st.integers(2, 70), rows=st.integers(1, 140), seed=st.integers(0, 10**6))
def test_windows_are_what_they_say_and_depend_on_themselves_alone(name, window, rows, seed):
    windowed, plain = PLAIN[name]
    values = 42_000 + np.random.default_rng(seed).normal(size=rows)
    result = windowed(values, window)
    assert len(result) == rows
    assert np.isnan(result[: window - 1]).all()
    for row in range(window - 1, rows):
        view = values[row - window + 1 : row + 1].copy()
        assert result[row] == pytest.approx(plain(view), rel=1e-9, abs=1e-9)
        assert result[row] == windowed(view, window)[-1]


@given(value=st.floats(1e-9, 1e9), window=st.integers(2, 500))
def test_a_constant_has_its_mean_and_no_deviation_exactly(value, window):
    values = np.full(window + 3, value)
    assert (rolling.mean(values, window)[window - 1 :] == value).all()
    assert (rolling.deviation(values, window)[window - 1 :] == 0).all()
    assert (rolling.zscore(values, window)[window - 1 :] == 0).all()
    assert (rolling.correlation(values, np.arange(window + 3.0), window)[window - 1 :] == 0).all()


def test_warmups_of_recursions_forget():
    assert (1 - 2 / 27) ** ema_rows(26) < 1e-13 < (1 - 2 / 27) ** (ema_rows(26) - 2 * 26)
    assert (1 - 1 / 14) ** wilder_rows(14) < 1e-13
    assert wilder_rows(14, 2) > wilder_rows(14) + 14
    assert ema_rows(15, 3) > ema_rows(15, 2) > ema_rows(15)


def test_intermediates_are_computed_once_however_they_are_asked_for(market):
    fresh = Market(market.candles)
    assert atr(fresh, 14) is atr(fresh, window=14)
    assert atr(fresh, 14) is not atr(fresh, 7)
