"""A bitcoin-like market of one-minute candles whose every effect is planted, and therefore known.

Log price of minute t+1 = log price of minute t + the regime's own motion + what rows up to t have planted (order
flow, whales, news: the ``truth`` of row t) + volatility times a Student-t shock. All effects are measured in sigmas,
the volatility of one minute, so that they keep their weight in quiet and in wild hours. The sizes stand in
``VARIANTS``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from modules.core.words import DAY_MINUTES, MINUTE_MS, REGIMES

Table = dict[str, NDArray]
Streams = dict[str, np.random.Generator]


@dataclass(frozen=True)
class Effects:
    """What is planted in one variant. A sigma is the volatility of one minute; a size of 0 plants nothing."""

    volatility: float
    """Factor on every volatility; 1 is like bitcoin itself."""
    trend_drift: float
    """Sigmas a minute, in the direction of an UP or DOWN regime."""
    breakout: float
    """Sigmas in all, with which an UP or DOWN regime opens, within some ``BREAKOUT_MINUTES``."""
    range_pull: float
    """Share of the distance to its anchor that a RANGE or STABLE regime takes back a minute."""
    flow_drift: float
    """Sigmas a minute, at full flow, in the minute after."""
    flow_floor: float
    """Absolute flow state (standard deviations) at which the drift begins."""
    flow_full: float
    """Absolute flow state at which the drift is full; linear from the floor, flat beyond."""
    flow_half_life: float
    """Minutes."""
    flow_share: float
    """Rise of the taker-buy share for one standard deviation of flow; shown in all variants, paid in none of null."""
    whale_impact: float
    """Sigmas in all, over the ``WHALE_MINUTES`` after a planted transfer: down if to an exchange, up if from one."""
    news_impact: float
    """Sigmas in all, over the ``NEWS_MINUTES`` after a headline, in the direction of its label."""


VARIANTS = {
    "weak": Effects(
        volatility=1.0,
        trend_drift=0.06,
        breakout=8.0,
        range_pull=0.010,
        flow_drift=0.12,
        flow_floor=0.0,
        flow_full=3.0,
        flow_half_life=15.0,
        flow_share=0.08,
        whale_impact=2.0,
        news_impact=1.5,
    ),
    "strong": Effects(
        volatility=3.5,
        trend_drift=0.06,
        breakout=8.0,
        range_pull=0.010,
        flow_drift=1.1,
        flow_floor=1.2,
        flow_full=1.5,
        flow_half_life=30.0,
        flow_share=0.20,
        whale_impact=6.0,
        news_impact=4.0,
    ),
    "null": Effects(
        volatility=1.0,
        trend_drift=0.0,
        breakout=0.0,
        range_pull=0.0,
        flow_drift=0.0,
        flow_floor=0.0,
        flow_full=3.0,
        flow_half_life=15.0,
        flow_share=0.08,
        whale_impact=0.0,
        news_impact=0.0,
    ),
}
"""weak: an edge as small as real ones, that costs eat. strong: an edge that pays, in a market so wild that moves are
better told in basis points than in USD. null: no direction at all, only volatility that comes and goes."""

DEFAULT_START_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC."""

REGIME_SIGMA = {"STABLE": 2.0e-4, "RANGE": 3.9e-4, "TREND": 6.9e-4, "VOLATILE": 13.0e-4}
"""Volatility of one minute, log, by kind of regime."""
REGIME_MINUTES = {"STABLE": 360.0, "RANGE": 330.0, "TREND": 290.0, "VOLATILE": 200.0}
"""Mean stay; gamma with shape ``STAY_SHAPE``, at least ``MIN_STAY`` minutes."""
STAY_SHAPE = 4.0
MIN_STAY = 30
NEXT_REGIME = (
    # in the order of REGIMES, from row to column; UP and DOWN, HIGH and LOW mirror each other
    (0.00, 0.08, 0.37, 0.03, 0.12, 0.08, 0.29, 0.03),
    (0.08, 0.00, 0.03, 0.37, 0.08, 0.12, 0.03, 0.29),
    (0.24, 0.22, 0.00, 0.06, 0.12, 0.12, 0.20, 0.04),
    (0.22, 0.24, 0.06, 0.00, 0.12, 0.12, 0.04, 0.20),
    (0.17, 0.10, 0.40, 0.03, 0.00, 0.10, 0.17, 0.03),
    (0.10, 0.17, 0.03, 0.40, 0.10, 0.00, 0.03, 0.17),
    (0.27, 0.25, 0.22, 0.04, 0.10, 0.10, 0.00, 0.02),
    (0.25, 0.27, 0.04, 0.22, 0.10, 0.10, 0.02, 0.00),
)
BREAKOUT_MINUTES = 5.0
"""Time constant of the opening leg: over before a follower of trends can be paid for it."""
RANGE_MINUTES = 480
"""The trailing range on which a RANGE or STABLE regime takes its anchor when it begins."""
ANCHOR_PLACE = 0.88
"""Place of a HIGH anchor in that range, 0 its low, 1 its high; a LOW anchor is its mirror."""

LOG_VOL_HALF_LIFE = 120.0
LOG_VOL_SPREAD = 0.08
"""Standard deviation of the wandering part of log volatility."""
SEASON_SPREAD = 0.15
SEASON_PEAK_HOUR = 17.0
"""The day's wave of log volatility: highest within New York hours."""
TAIL_FREEDOM = 6.0
"""Degrees of freedom of the shocks."""
GAP = 0.02
"""Sigmas between a close and the next open."""
SHARE_SHOCK, SHARE_NOISE = 0.10, 0.12
"""What the taker-buy share owes to its own minute's shock, and to nothing."""

WHALE_MINUTES = 30
NEWS_MINUTES = 45
WHALE_RATE, TRANSFER_RATE, NEWS_RATE = 1 / 240, 1 / 15, 1 / 30
"""Chance a minute of a planted whale, an ordinary large transfer, a headline."""

STREAMS = ("regime", "log_vol", "tail", "shock", "gap", "extremes", "flow", "share", "volume", "depth",
           "transfer", "transfer_size", "transfer_shape", "news", "headline")  # fmt: skip

SOURCES = ("Coin Courier", "Ledger Wire", "The Satoshi Post", "Block Gazette", "@btc_watcher", "@macro_desk")
NAMES = ("Northgate Bank", "Helix Capital", "Orchid Exchange", "Pinecrest Fund", "Atlas Pay", "Lumen Mining")
TEXT_TYPE = "U100"
"""Of one width, whichever headlines fall in."""
HEADLINES = {
    -1: (
        "{name} halts bitcoin withdrawals after a {n} million dollar hack",
        "Regulator sues {name} over unregistered bitcoin products",
        "Bitcoin slides as {name} reports losses of {n} million dollars",
        "{name} warns of weak demand and cuts its bitcoin target by {n} percent",
        "Fear grips crypto traders as {name} faces liquidation",
        "{name} dumps {n} million dollars of bitcoin in panic selling",
    ),
    0: (
        "{name} to present its bitcoin report at a conference next week",
        "{name} moves its crypto desk to a new office",
        "Bitcoin trades sideways while {name} awaits the figures",
        "Explainer: how {name} stores the keys of {n} thousand customers",
        "{name} names a new head of digital assets",
        "Weekly recap: {n} things that {name} said about bitcoin",
    ),
    1: (
        "{name} buys {n} million dollars of bitcoin for its treasury",
        "Bitcoin rallies as {name} wins approval for a spot fund",
        "{name} reports record inflows of {n} million dollars into bitcoin",
        "Adoption surges: {name} lets {n} thousand shops accept bitcoin",
        "{name} raises its bitcoin target by {n} percent on strong demand",
        "Bullish breakout: {name} sees bitcoin gains ahead",
    ),
}


@dataclass(frozen=True)
class Simulation:
    """The tables of one simulated market, each a dict of columns of one length.

    candles : N minutes, with the columns of an exchange's candles; prices in USD, volumes in BTC, quote volumes in USD
    depth : N minutes; bid_btc and ask_btc near the price at the minute's close, spread in USD
    transfers : large on-chain transfers by time (ms within their minute); ``planted`` marks those that move the price
    news : headlines by time, with label -1, 0, 1
    truth : N minutes. regime and volatility (log, one sigma) are those of the row's own minute; drift (order flow),
        whale_impact and news_impact are log drifts, known at the row's close, that the NEXT minute receives
    """

    candles: Table
    depth: Table
    transfers: Table
    news: Table
    truth: Table


def simulate(
    minutes: int,
    seed: int,
    variant: str = "weak",
    start_ms: int = DEFAULT_START_MS,
    start_price: float = 60_000.0,
) -> Simulation:
    """Simulate a market. The same arguments give the same bytes, and a longer market begins with the shorter one.

    Regimes are a semi-Markov chain; volatility is regime x AR(1) log-volatility (Taylor 1986) x a wave of the day;
    shocks are Student t; RANGE and STABLE regimes are Ornstein-Uhlenbeck; highs and lows are the exact extremes of a
    Brownian bridge from open to close.

    Parameters
    ----------
    minutes : number of candles, at least 1
    seed : not negative
    variant : a name out of ``VARIANTS``
    start_ms : open time of the first candle, Unix ms UTC, a whole minute
    start_price : USD
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is not one of {', '.join(VARIANTS)}")
    if minutes < 1:
        raise ValueError(f"minutes must be at least 1, not {minutes}")
    if start_ms % MINUTE_MS:
        raise ValueError(f"start_ms must be a whole minute, not {start_ms}")
    if not start_price > 0:
        raise ValueError(f"start_price must be above 0, not {start_price}")
    effects = VARIANTS[variant]
    # One stream for each purpose, each drawn in one order only: more minutes never change the draws of earlier ones.
    seeds = np.random.SeedSequence(seed).spawn(len(STREAMS))
    streams = {name: np.random.Generator(np.random.PCG64(child)) for name, child in zip(STREAMS, seeds, strict=True)}
    timestamp = start_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)

    starts, codes = _regime_stays(minutes, streams["regime"])
    regime = np.repeat(codes, np.diff(np.append(starts, minutes)))
    sigma = effects.volatility * _volatility(timestamp, regime, streams["log_vol"])
    flow = _ar1(streams["flow"].standard_normal(minutes), effects.flow_half_life)
    drift = effects.flow_drift * sigma * _flow_shape(flow, effects)
    transfers, whale_push = _transfers(timestamp, streams)
    whale_impact = _spread_out(effects.whale_impact * sigma * whale_push, WHALE_MINUTES)
    news, news_push = _news(timestamp, streams)
    news_impact = _spread_out(effects.news_impact * sigma * news_push, NEWS_MINUTES)

    tail = np.sqrt((TAIL_FREEDOM - 2) / streams["tail"].chisquare(TAIL_FREEDOM, minutes))
    shock = tail * streams["shock"].standard_normal(minutes)
    gap = GAP * sigma * streams["gap"].standard_normal(minutes)
    planted = np.append(0.0, (drift + whale_impact + news_impact)[:-1])
    log_close = _log_closes(math.log(start_price), planted + gap + sigma * shock, sigma, starts, codes, effects)
    log_open = np.append(math.log(start_price), log_close[:-1]) + gap
    prices = _prices(log_open, log_close, sigma * tail, streams["extremes"].random((minutes, 2)))

    return Simulation(
        candles={"timestamp": timestamp, **prices, **_volumes(prices, sigma, shock, flow, effects, streams)},
        depth={"timestamp": timestamp.copy(), **_depth(sigma, flow, streams["depth"])},
        transfers=transfers,
        news=news,
        truth={
            "timestamp": timestamp.copy(),
            "regime": np.array(REGIMES)[regime],
            "drift": drift,
            "volatility": sigma,
            "whale_impact": whale_impact,
            "news_impact": news_impact,
        },
    )


def _kind(code: int) -> str:
    return REGIMES[code].split("_")[0]


def _sign(code: int) -> int:
    return 1 if REGIMES[code].endswith(("_UP", "_HIGH")) else -1


def _regime_stays(minutes: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """First minute and code of each stay in a regime."""
    cumulative = np.cumsum(NEXT_REGIME, axis=1)
    code, start = int(rng.random() * len(REGIMES)), 0
    starts, codes = [], []
    while start < minutes:
        starts.append(start)
        codes.append(code)
        start += max(MIN_STAY, int(rng.gamma(STAY_SHAPE, REGIME_MINUTES[_kind(code)] / STAY_SHAPE)))
        code = int(np.searchsorted(cumulative[code], rng.random() * cumulative[code, -1], side="right"))
    return starts, codes


def _decaying_sums(values: list[float], keep: float) -> Iterator[float]:
    return accumulate(values, lambda state, new: keep * state + new)


def _ar1(shocks: NDArray, half_life: float) -> NDArray:
    """An AR(1) path with variance 1 from standard normal shocks; half-life in minutes."""
    keep = 0.5 ** (1 / half_life)
    scale = math.sqrt(1 - keep * keep)
    fresh = [float(shocks[0]), *(scale * shocks[1:]).tolist()]
    return np.array(list(_decaying_sums(fresh, keep)))


def _volatility(timestamp: NDArray, regime: NDArray, rng: np.random.Generator) -> NDArray:
    level = np.array([REGIME_SIGMA[_kind(code)] for code in range(len(REGIMES))])[regime]
    day = (timestamp // MINUTE_MS % DAY_MINUTES) / DAY_MINUTES
    season = SEASON_SPREAD * np.cos(2 * np.pi * (day - SEASON_PEAK_HOUR / 24))
    wander = LOG_VOL_SPREAD * _ar1(rng.standard_normal(len(timestamp)), LOG_VOL_HALF_LIFE)
    return level * np.exp(season + wander)


def _flow_shape(flow: NDArray, effects: Effects) -> NDArray:
    """The flow state as a share of its full effect, -1 to 1."""
    rise = (np.abs(flow) - effects.flow_floor) / (effects.flow_full - effects.flow_floor)
    return np.sign(flow) * np.clip(rise, 0, 1)


def _spread_out(push: NDArray, span: int) -> NDArray:
    """Share each push out evenly over ``span`` minutes, the first of them its own row."""
    spread = np.zeros(len(push))
    for lag in range(min(span, len(push))):
        spread[lag:] += push[: len(push) - lag] / span
    return spread


def _log_closes(
    log_start: float,
    moves: NDArray,
    sigma: NDArray,
    starts: list[int],
    codes: list[int],
    effects: Effects,
) -> NDArray:
    """Log closes (N,) from all moves but the regimes' own, which depend on the path and are added here."""
    path = np.empty(len(moves) + 1)
    path[0] = log_start
    for start, end, code in zip(starts, [*starts[1:], len(moves)], codes, strict=True):
        own = moves[start:end]
        if _kind(code) in ("TREND", "VOLATILE"):
            leg = effects.breakout / BREAKOUT_MINUTES * np.exp(-np.arange(end - start) / BREAKOUT_MINUTES)
            own = own + _sign(code) * sigma[start:end] * (effects.trend_drift + leg)
            path[start + 1 : end + 1] = path[start] + np.cumsum(own)
        else:
            recent = path[max(0, start + 1 - RANGE_MINUTES) : start + 1]
            middle, half = (recent.max() + recent.min()) / 2, (recent.max() - recent.min()) / 2
            anchor = float(middle + _sign(code) * (2 * ANCHOR_PLACE - 1) * half)
            away = [float(path[start]) - anchor, *own.tolist()]
            path[start : end + 1] = anchor + np.array(list(_decaying_sums(away, 1 - effects.range_pull)))
    return path[1:]


def _prices(log_open: NDArray, log_close: NDArray, spread: NDArray, uniform: NDArray) -> Table:
    """Candles whose high and low are drawn from the extremes of a Brownian bridge of the given standard deviation."""
    reach = np.sqrt((log_close - log_open)[:, None] ** 2 - 2 * spread[:, None] ** 2 * np.log1p(-uniform))
    middle = (log_open + log_close) / 2
    opened, close = np.round(np.exp(log_open), 2), np.round(np.exp(log_close), 2)
    high, low = np.round(np.exp(middle + reach[:, 0] / 2), 2), np.round(np.exp(middle - reach[:, 1] / 2), 2)
    # A bridge never ends beyond its extremes, but a rounded sum may, by the last bit.
    return {
        "open": opened,
        "high": np.maximum(high, np.maximum(opened, close)),
        "low": np.minimum(low, np.minimum(opened, close)),
        "close": close,
    }


def _volumes(prices: Table, sigma: NDArray, shock: NDArray, flow: NDArray, effects: Effects, streams: Streams) -> Table:
    noise = streams["volume"].standard_normal((len(sigma), 2))
    activity = np.log(sigma / (effects.volatility * REGIME_SIGMA["RANGE"])) + 0.25 * np.minimum(np.abs(shock), 4)
    volume = np.maximum(np.round(15.0 * np.exp(activity + 0.45 * noise[:, 0]), 5), 0.001)
    trades = np.maximum(1, 45.0 * volume**0.85 * np.exp(0.2 * noise[:, 1])).astype(np.int64)
    noise_share = SHARE_NOISE * streams["share"].standard_normal(len(sigma))
    share = np.clip(0.5 + effects.flow_share * flow + SHARE_SHOCK * np.tanh(shock) + noise_share, 0.02, 0.98)
    taker = np.minimum(np.round(share * volume, 5), volume)
    mean_price = (prices["open"] + prices["high"] + prices["low"] + prices["close"]) / 4
    return {
        "volume": volume,
        "quote_volume": np.round(volume * mean_price, 8),
        "trades": trades,
        "taker_buy_base": taker,
        "taker_buy_quote": np.round(taker * mean_price, 8),
    }


def _depth(sigma: NDArray, flow: NDArray, rng: np.random.Generator) -> Table:
    noise = rng.standard_normal((len(sigma), 3))
    level = 40.0 * np.sqrt(REGIME_SIGMA["RANGE"] / sigma)
    return {
        "bid_btc": np.round(level * np.exp(0.1 * flow + 0.4 * noise[:, 0]), 5),
        "ask_btc": np.round(level * np.exp(-0.1 * flow + 0.4 * noise[:, 1]), 5),
        "spread": np.round(0.01 + 0.2 * sigma / REGIME_SIGMA["RANGE"] * np.exp(noise[:, 2] - 1), 2),
    }


def _transfers(timestamp: NDArray, streams: Streams) -> tuple[Table, NDArray]:
    """Large transfers by time, and the sum (N,) of the directions of the planted ones in each minute."""
    happens = streams["transfer"].random((len(timestamp), 2)) < (WHALE_RATE, TRANSFER_RATE)
    minute, kind = np.nonzero(happens)
    whale = kind == 0
    size = streams["transfer_size"].standard_normal((len(minute), 2))
    shape = streams["transfer_shape"].random((len(minute), 5))
    # Ordinary transfers touch exchanges too, and as large ones do not tell what they want: a score has to learn it.
    to_exchange = shape[:, 0] < np.where(whale, 0.5, 0.35)
    from_exchange = ~to_exchange & (shape[:, 0] < np.where(whale, 1.0, 0.6))
    outputs = 1 + (-np.log1p(-shape[:, 1]) * np.where(whale, 1.0, 4.0)).astype(np.int64)
    largest = np.maximum(1 - shape[:, 2] * np.where(whale, 0.15, 0.8), 1 / outputs)
    table = {
        "timestamp": timestamp[minute] + (shape[:, 4] * MINUTE_MS).astype(np.int64),
        "value_btc": np.round(np.where(whale, 900.0, 150.0) * np.exp(np.where(whale, 0.5, 0.8) * size[:, 0]), 8),
        "to_exchange": to_exchange,
        "from_exchange": from_exchange,
        "inputs": 1 + (-np.log1p(-shape[:, 3]) * np.where(whale, 2.0, 5.0)).astype(np.int64),
        "outputs": outputs,
        "largest_output_share": np.round(np.where(outputs == 1, 1.0, largest), 4),
        "fee_rate": np.round(np.where(whale, 40.0, 20.0) * np.exp(0.6 * size[:, 1]), 2),
        "planted": whale,
    }
    order = np.argsort(table["timestamp"], kind="stable")
    direction = np.where(from_exchange, 1.0, -1.0)[whale]
    push = np.bincount(minute[whale], weights=direction, minlength=len(timestamp))
    return {name: column[order] for name, column in table.items()}, push


def _news(timestamp: NDArray, streams: Streams) -> tuple[Table, NDArray]:
    """Headlines by time, and the label (N,) of each minute's headline, 0 where there is none."""
    minute = np.nonzero(streams["news"].random(len(timestamp)) < NEWS_RATE)[0]
    draw = streams["headline"].random((len(minute), 6))
    label = (draw[:, 0] * 3).astype(np.int64) - 1
    texts = [
        HEADLINES[sign][int(pick * len(HEADLINES[sign]))].format(name=NAMES[int(who * len(NAMES))], n=2 + int(97 * n))
        for sign, pick, who, n in zip(label.tolist(), draw[:, 1], draw[:, 2], draw[:, 3], strict=True)
    ]
    push = np.zeros(len(timestamp))
    push[minute] = label
    table = {
        "timestamp": timestamp[minute] + (draw[:, 5] * MINUTE_MS).astype(np.int64),
        "source": np.array(SOURCES)[(draw[:, 4] * len(SOURCES)).astype(np.int64)],
        "text": np.array(texts, dtype=TEXT_TYPE),
        "label": label,
    }
    return table, push
