"""The simulated market: valid candles, a past that never changes, and exactly the edges that it says it has."""

from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.words import MINUTE_MS, REGIMES
from modules.m1_data_engine.simulated_market import (
    HEADLINES,
    NEWS_MINUTES,
    NEXT_REGIME,
    REGIME_MINUTES,
    SEASON_PEAK_HOUR,
    TEXT_TYPE,
    VARIANTS,
    WHALE_MINUTES,
    Simulation,
    simulate,
)

HORIZON = 15
TABLES = ("candles", "depth", "transfers", "news", "truth")
_BIG: dict[str, Simulation] = {}


def big(variant: str) -> Simulation:
    """One large market of each variant, simulated once and only read."""
    if variant not in _BIG:
        _BIG[variant] = simulate(200_000, 1, variant)
    return _BIG[variant]


def smooth(values: np.ndarray, half_life: float = 8.0) -> np.ndarray:
    """Trailing exponential mean."""
    keep, out, state = 0.5 ** (1 / half_life), np.empty(len(values)), float(values[0])
    for row, value in enumerate(values.tolist()):
        state = keep * state + (1 - keep) * value
        out[row] = state
    return out


def excess_share(market: Simulation) -> np.ndarray:
    return market.candles["taker_buy_base"] / market.candles["volume"] - 0.5


def next_returns(market: Simulation, span: int = HORIZON) -> np.ndarray:
    """Log return (N - span,) of the ``span`` minutes after each close, in sigmas of one minute."""
    log_close = np.log(market.candles["close"])
    return (log_close[span:] - log_close[:-span]) / market.truth["volatility"][:-span]


def t_of_correlation(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.corrcoef(left, right)[0, 1] * np.sqrt(len(left)))


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks = np.empty(len(score))
    ranks[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    ups = int(positive.sum())
    return float((ranks[positive].sum() - ups * (ups + 1) / 2) / (ups * (len(score) - ups)))


def average_range(market: Simulation, span: int = 14) -> np.ndarray:
    """Mean high-low range (N,) of the last ``span`` candles, USD; the first rows repeat the first full one."""
    candles = market.candles
    sums = np.cumsum(np.append(0.0, candles["high"] - candles["low"]))
    full = (sums[span:] - sums[:-span]) / span
    return np.append(np.full(span - 1, full[0]), full)


def trade_gains(market: Simulation, rows: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Gross gains (bps) of trades entered at the next open: stop 2 ATR before target 3 ATR, out after 15 minutes."""
    candles, atr = market.candles, average_range(market)[rows]
    entry, gain = candles["open"][rows + 1], np.full(len(rows), np.nan)
    for step in range(1, HORIZON + 1):
        high, low = candles["high"][rows + step] - entry, candles["low"][rows + step] - entry
        worst, best = np.where(side > 0, -low, high), np.where(side > 0, high, -low)
        gain = np.where(np.isnan(gain) & (worst >= 2 * atr), -2 * atr, gain)
        gain = np.where(np.isnan(gain) & (best >= 3 * atr), 3 * atr, gain)
    gain = np.where(np.isnan(gain), side * (candles["close"][rows + HORIZON] - entry), gain)
    return 1e4 * gain / entry


def tables_bytes(market: Simulation, until: int) -> dict[str, bytes]:
    """All bytes of the rows before the time ``until``."""
    out = {}
    for table in TABLES:
        columns = getattr(market, table)
        rows = int(np.searchsorted(columns["timestamp"], until))
        out.update({f"{table}.{name}": column[:rows].tobytes() for name, column in columns.items()})
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    minutes=st.integers(1, 700),
    variant=st.sampled_from(sorted(VARIANTS)),
    start_price=st.sampled_from([0.5, 150.0, 60_000.0]),
)
def test_candles_are_valid(seed: int, minutes: int, variant: str, start_price: float) -> None:
    market = simulate(minutes, seed, variant, start_price=start_price)
    candles = market.candles
    opened, high, low, close, volume = (candles[name] for name in ("open", "high", "low", "close", "volume"))
    assert {len(column) for column in candles.values()} == {minutes}
    assert candles["timestamp"].dtype == np.int64
    assert np.all(np.diff(candles["timestamp"]) == MINUTE_MS)
    assert np.all(low > 0)
    assert np.all(low <= np.minimum(opened, close))
    assert np.all(high >= np.maximum(opened, close))
    for prices in (opened, high, low, close):
        assert np.array_equal(prices, np.round(prices, 2))
    gaps = np.abs(np.log(opened[1:] / close[:-1]))
    assert np.all(gaps <= 0.2 * market.truth["volatility"][1:] + 0.011 / close[:-1])
    assert np.all(volume > 0)
    assert np.array_equal(volume, np.round(volume, 5))
    assert np.all(candles["taker_buy_base"] >= 0)
    assert np.all(candles["taker_buy_base"] <= volume)
    for base, quote in (("volume", "quote_volume"), ("taker_buy_base", "taker_buy_quote")):
        assert np.all(candles[quote] >= candles[base] * low - 1e-6)
        assert np.all(candles[quote] <= candles[base] * high + 1e-6)
    assert candles["trades"].dtype == np.int64
    assert np.all(candles["trades"] >= 1)
    assert all(np.all(np.isfinite(column)) for column in candles.values())


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    shorter=st.integers(1, 1_500),
    extra=st.integers(1, 1_500),
    variant=st.sampled_from(sorted(VARIANTS)),
)
def test_a_longer_market_begins_with_the_shorter_one(seed: int, shorter: int, extra: int, variant: str) -> None:
    short, long = simulate(shorter, seed, variant), simulate(shorter + extra, seed, variant)
    until = int(short.candles["timestamp"][-1]) + MINUTE_MS
    assert tables_bytes(short, until) == tables_bytes(long, until)
    assert len(short.transfers["timestamp"]) == np.searchsorted(long.transfers["timestamp"], until)


def test_prefix_holds_over_many_regimes() -> None:
    short = simulate(150_001, 1)
    until = int(short.candles["timestamp"][-1]) + MINUTE_MS
    assert tables_bytes(short, until) == tables_bytes(big("weak"), until)


def test_the_seed_decides_everything() -> None:
    first, again, other = simulate(500, 5), simulate(500, 5), simulate(500, 6)
    until = int(first.candles["timestamp"][-1]) + MINUTE_MS
    assert tables_bytes(first, until) == tables_bytes(again, until)
    assert tables_bytes(first, until)["candles.close"] != tables_bytes(other, until)["candles.close"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"minutes": 0, "seed": 1}, "minutes"),
        ({"minutes": 5, "seed": 1, "variant": "wild"}, "weak"),
        ({"minutes": 5, "seed": 1, "start_ms": 30_000}, "start_ms"),
        ({"minutes": 5, "seed": 1, "start_price": 0.0}, "start_price"),
    ],
)
def test_faulty_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_regimes_cover_all_names_and_last_for_hours(variant: str) -> None:
    stays: dict[str, list[int]] = {name: [] for name in REGIMES}
    for name, group in groupby(big(variant).truth["regime"].tolist()):
        stays[name].append(len(list(group)))
    for name, lengths in stays.items():
        assert len(lengths) > 20
        assert np.mean(lengths) == pytest.approx(REGIME_MINUTES[name.split("_")[0]], rel=0.25)
        assert min(lengths[1:]) >= 25


def test_regimes_look_as_they_are_called() -> None:
    market = big("weak")
    regime, log_close = market.truth["regime"], np.log(market.candles["close"])
    returns = np.diff(log_close, prepend=log_close[0])
    kinds = ("STABLE", "RANGE", "TREND", "VOLATILE")
    spreads = [returns[np.char.startswith(regime, kind)].std() for kind in kinds]
    assert all(wider > 1.4 * narrower for narrower, wider in pairwise(spreads))
    windows = np.lib.stride_tricks.sliding_window_view(log_close, 480)
    place = (log_close[479:] - windows.min(1)) / (windows.max(1) - windows.min(1))
    for kind in kinds:
        up, down = ("UP", "DOWN") if kind in ("TREND", "VOLATILE") else ("HIGH", "LOW")
        assert place[regime[479:] == f"{kind}_{up}"].mean() > 0.15 + place[regime[479:] == f"{kind}_{down}"].mean()


def test_scale_is_that_of_bitcoin() -> None:
    market = big("weak")
    candles = market.candles
    relative = average_range(market) / candles["close"]
    normal = np.char.startswith(market.truth["regime"], "RANGE") | np.char.startswith(market.truth["regime"], "TREND")
    assert 35 < 60_000 * np.median(relative[normal]) < 60
    highs = np.lib.stride_tricks.sliding_window_view(candles["high"][1:], HORIZON).max(1)
    lows = np.lib.stride_tricks.sliding_window_view(candles["low"][1:], HORIZON).min(1)
    close = candles["close"][: len(highs)]
    assert 0.10 < np.mean((highs > 1.005 * close) | (lows < 0.995 * close)) < 0.20
    strong = big("strong")
    assert 20e-4 < np.median(average_range(strong) / strong.candles["close"]) < 30e-4
    shocks = np.diff(np.log(candles["close"])) / market.truth["volatility"][1:]
    assert 4.0 < np.mean(shocks**4) / np.mean(shocks**2) ** 2 < 9.0, "tails are fatter than normal ones"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_volatility_has_a_day(variant: str) -> None:
    market = big(variant)
    hour = market.candles["timestamp"] // 3_600_000 % 24
    ranges = np.log(market.candles["high"] / market.candles["low"])
    distance = np.abs((hour - SEASON_PEAK_HOUR + 12) % 24 - 12)
    assert ranges[distance <= 3].mean() > 1.15 * ranges[distance >= 9].mean()


def test_volume_follows_volatility() -> None:
    market = big("weak")
    assert np.corrcoef(np.log(market.candles["volume"]), np.log(market.truth["volatility"]))[0, 1] > 0.5
    assert np.corrcoef(np.log(market.candles["trades"]), np.log(market.candles["volume"]))[0, 1] > 0.8


def test_weak_has_a_small_edge_that_does_not_pay() -> None:
    scores, ups, gains = [], [], []
    for seed in (1, 2, 3):
        market = big("weak") if seed == 1 else simulate(200_000, seed)
        score = smooth(excess_share(market))[:-HORIZON]
        scores.append(score)
        ups.append(next_returns(market) > 0)
        rows = np.nonzero(np.abs(score) > np.quantile(np.abs(score), 0.97))[0][:-20]
        gains.append(trade_gains(market, rows, np.sign(score[rows])))
    assert 0.515 < auc(np.concatenate(scores), np.concatenate(ups)) < 0.57
    assert 0 < np.concatenate(gains).mean() < 20


def test_strong_pays() -> None:
    market = big("strong")
    score = smooth(excess_share(market), 3.0)
    worth = 3 * average_range(market) / market.candles["close"] > 80e-4
    sure = np.abs(score) > np.quantile(np.abs(score), 0.97)
    rows = np.nonzero(worth & sure)[0][:-20]
    gains = trade_gains(market, rows, np.sign(score[rows]))
    assert len(rows) > 0.01 * len(score)
    assert np.mean(gains > 30) > 0.9
    assert gains.mean() > 60


def test_null_has_no_edge() -> None:
    found: dict[str, list[float]] = {}
    for seed in range(8):
        market = simulate(60_000, seed, "null")
        candles, step = market.candles, slice(500, -HORIZON, HORIZON)
        log_close, after = np.log(candles["close"]), next_returns(market)[500::HORIZON]
        sigma = market.truth["volatility"]
        past = np.append(np.zeros(60), log_close[60:] - log_close[:-60]) / sigma
        features = {
            "share": excess_share(market)[step],
            "smooth share": smooth(excess_share(market))[step],
            "momentum": past[step],
            "regime": np.char.endswith(market.truth["regime"], "_UP")[step] * 1.0
            - np.char.endswith(market.truth["regime"], "_DOWN")[step],
            "place": np.char.endswith(market.truth["regime"], "_HIGH")[step] * 1.0
            - np.char.endswith(market.truth["regime"], "_LOW")[step],
            "depth": np.log(market.depth["bid_btc"] / market.depth["ask_btc"])[step],
        }
        for name, feature in features.items():
            found.setdefault(name, []).append(t_of_correlation(feature, after))
        found.setdefault("mean", []).append(float(after.mean() / after.std() * np.sqrt(len(after))))
        one = next_returns(market, 1)
        found.setdefault("autocorrelation", []).append(t_of_correlation(one[1:], one[:-1]))
        wicks = (candles["high"] - np.maximum(candles["open"], candles["close"])) - (
            np.minimum(candles["open"], candles["close"]) - candles["low"]
        )
        found.setdefault("wicks", []).append(float(wicks.mean() / wicks.std() * np.sqrt(len(wicks))))
        rows = np.arange(500, len(sigma) - 20, HORIZON)
        gains = trade_gains(market, rows, np.sign(excess_share(market)[rows]))
        found.setdefault("gains", []).append(float(gains.mean() / gains.std() * np.sqrt(len(gains))))
        assert not any(market.truth[name].any() for name in ("drift", "whale_impact", "news_impact"))
        assert set(market.truth["regime"]) == set(REGIMES)
    for name, t_values in found.items():
        assert max(map(abs, t_values)) < 4.0, name
        assert abs(sum(t_values)) / np.sqrt(len(t_values)) < 3.0, name


def test_a_variant_is_told_from_null_by_the_same_measure() -> None:
    for variant, least in (("weak", 4.0), ("strong", 10.0)):
        market = big(variant)
        score = smooth(excess_share(market))[500:-HORIZON:HORIZON]
        assert t_of_correlation(score, next_returns(market)[500::HORIZON]) > least


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_depth_is_possible(variant: str) -> None:
    market = big(variant)
    assert np.array_equal(market.depth["timestamp"], market.candles["timestamp"])
    assert np.all(market.depth["bid_btc"] >= 0)
    assert np.all(market.depth["ask_btc"] >= 0)
    assert np.all(market.depth["spread"] >= 0.01)
    assert np.median(market.depth["spread"]) < 5


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_transfers_are_possible(variant: str) -> None:
    market = big(variant)
    moved, stamps = market.transfers, market.candles["timestamp"]
    assert np.all(np.diff(moved["timestamp"]) >= 0)
    assert stamps[0] <= moved["timestamp"][0]
    assert moved["timestamp"][-1] < stamps[-1] + MINUTE_MS
    assert not np.any(moved["to_exchange"] & moved["from_exchange"])
    planted = moved["planted"]
    assert np.all((moved["to_exchange"] | moved["from_exchange"])[planted])
    assert 0.03 < planted.mean() < 0.10
    assert np.median(moved["value_btc"][planted]) > 3 * np.median(moved["value_btc"][~planted])
    assert np.all(moved["inputs"] >= 1)
    assert np.all(moved["outputs"] >= 1)
    assert np.all(moved["fee_rate"] > 0)
    share = moved["largest_output_share"]
    assert np.all(share <= 1)
    assert np.all(share * moved["outputs"] >= 1 - 1e-3 * moved["outputs"])


def mean_move_t(market: Simulation, stamps: np.ndarray, sign: np.ndarray, span: int) -> float:
    """The t-statistic of the signed moves of the ``span`` minutes after the minutes in which ``stamps`` fall."""
    moves, start = next_returns(market, span), market.candles["timestamp"][0]
    rows = (stamps - start) // MINUTE_MS
    inside = rows < len(moves)
    signed = sign[inside] * moves[rows[inside]]
    return float(signed.mean() / signed.std() * np.sqrt(len(signed)))


@pytest.mark.parametrize(("variant", "least", "most"), [("weak", 4.0, 40.0), ("strong", 4.0, 80.0), ("null", -3.0, 3.0)])
def test_planted_whales_move_the_price_and_ordinary_ones_do_not(variant: str, least: float, most: float) -> None:
    market = big(variant)
    moved = market.transfers
    planted, direction = moved["planted"], moved["from_exchange"] * 1.0 - moved["to_exchange"] * 1.0
    assert least < mean_move_t(market, moved["timestamp"][planted], direction[planted], WHALE_MINUTES) < most
    ordinary = ~planted & (direction != 0)
    assert abs(mean_move_t(market, moved["timestamp"][ordinary], direction[ordinary], WHALE_MINUTES)) < 3.5


@pytest.mark.parametrize(("variant", "least", "most"), [("weak", 4.0, 40.0), ("strong", 4.0, 80.0), ("null", -3.0, 3.0)])
def test_headlines_move_the_price_in_the_direction_of_their_label(variant: str, least: float, most: float) -> None:
    market = big(variant)
    label, stamps = market.news["label"], market.news["timestamp"]
    assert least < mean_move_t(market, stamps[label != 0], label[label != 0], NEWS_MINUTES) < most
    assert np.array_equal(np.unique(label), [-1, 0, 1])
    assert len(np.unique(market.news["text"])) > 500
    longest = max(len(text.format(name="x" * 20, n=99)) for texts in HEADLINES.values() for text in texts)
    assert longest <= int(TEXT_TYPE[1:])


def test_nothing_moves_the_price_before_its_minute_has_closed() -> None:
    market = big("strong")
    log_close, sigma = np.log(market.candles["close"]), market.truth["volatility"]
    returns = np.diff(log_close, prepend=log_close[0]) / sigma
    whales, news, start = market.transfers, market.news, market.candles["timestamp"][0]
    planted, labelled = whales["planted"], news["label"] != 0
    rows = np.append(whales["timestamp"][planted], news["timestamp"][labelled])
    rows = (rows - start) // MINUTE_MS
    sign = np.append(np.where(whales["from_exchange"], 1, -1)[planted], news["label"][labelled])
    inside = (rows > 0) & (rows < len(sigma) - 1)
    rows, sign = rows[inside], sign[inside]
    own, following = sign * returns[rows], sign * returns[rows + 1]
    assert abs(own.mean() / own.std() * np.sqrt(len(own))) < 3.0
    assert following.mean() / following.std() * np.sqrt(len(following)) > 4.0


def test_regimes_follow_one_another_without_a_leaning() -> None:
    chances = np.array(NEXT_REGIME)
    other = {"UP": "DOWN", "DOWN": "UP", "HIGH": "LOW", "LOW": "HIGH"}
    mirror = [REGIMES.index(f"{kind}_{other[side]}") for kind, side in (name.split("_") for name in REGIMES)]
    assert np.allclose(chances.sum(axis=1), 1)
    assert np.array_equal(chances, chances[np.ix_(mirror, mirror)])
    assert not chances.diagonal().any()


def test_truth_is_what_the_next_minute_receives() -> None:
    market = big("strong")
    returns = next_returns(market, 1)
    planted = (market.truth["drift"] / market.truth["volatility"])[:-1]
    # A RANGE or STABLE regime pulls back what the flow has pushed; an UP or DOWN one leaves it.
    free = np.char.endswith(market.truth["regime"], "_UP") | np.char.endswith(market.truth["regime"], "_DOWN")
    full = free[1:] & free[:-1] & (np.abs(planted) > 0.99 * VARIANTS["strong"].flow_drift)
    assert np.mean(np.sign(planted[full]) * returns[full]) == pytest.approx(VARIANTS["strong"].flow_drift, rel=0.1)
    assert np.mean(market.truth["drift"] == 0) > 0.5
