"""All signals to one decision: two linear models a side, then the rules. Pure functions over N rows."""

from dataclasses import dataclass

import numpy as np

from modules.core import evidence
from modules.core.calibration import log_odds, platt, sigmoid
from modules.core.catalog import NEXT
from modules.core.settings import Costs, Settings
from modules.core.tables import Columns
from modules.core.words import BEARISH_REGIMES, BULLISH_REGIMES, BUY, NEUTRAL, OK, SELL, session_names

SIDES = {BUY: 1, SELL: -1}
SUPPORTING = {BUY: BULLISH_REGIMES, SELL: BEARISH_REGIMES}
WARNED = {BUY: "up", SELL: "down"}


@dataclass(frozen=True)
class Side:
    """What is known of one side's trades: how likely one ends in profit, and what one earns before costs.

    Parameters
    ----------
    weights, intercept : logistic regression over the standardised inputs, (D,) and number
    slope, shift : its calibration (Platt)
    gain_weights, gain_intercept : ridge regression of the gross outcome in ATR over the same inputs
    """

    weights: np.ndarray
    intercept: float
    slope: float
    shift: float
    gain_weights: np.ndarray
    gain_intercept: float

    def probability(self, standard: np.ndarray) -> np.ndarray:
        """(N,) calibrated probability that a trade decided here ends in profit after costs."""
        return platt(sigmoid(_dot(standard, self.weights) + self.intercept), self.slope, self.shift)

    def gain(self, standard: np.ndarray) -> np.ndarray:
        """(N,) expected gross outcome of the trade in ATR."""
        return _dot(standard, self.gain_weights) + self.gain_intercept


@dataclass(frozen=True)
class FusionModel:
    """Both sides over the inputs named by ``input_names``, standardised by (D,) centre and scale."""

    centre: np.ndarray
    scale: np.ndarray
    sides: dict[str, Side]

    def standard(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.centre) / self.scale


def input_names() -> list[str]:
    """The fusion's inputs in their order; a new parallel room's columns come in through the catalog."""
    outputs = ["warning_log_odds", "sell_log_odds", "buy_log_odds", "atr_ratio", "cost_in_atr"]
    return [column.name for column in NEXT] + outputs + evidence.names()


def input_rows(signals: Columns, costs: Costs) -> np.ndarray:
    """(N, D) inputs of the fusion from the columns of its input tables."""
    outputs = [
        log_odds(signals["warning_probability"]),
        log_odds(signals["p_sell"]),
        log_odds(signals["p_buy"]),
        signals["atr_ratio"],
        costs.round_trip * signals["close"] / np.maximum(signals["atr"], 1e-9),
    ]
    return np.column_stack([*(signals[column.name] for column in NEXT), *outputs, evidence.encode(signals)])


@dataclass(frozen=True)
class Decisions:
    """N decisions, before they are put into words.

    Parameters
    ----------
    side : (N,) the side that promises more, BUY or SELL
    profit : BUY and SELL -> (N,) calibrated probability that a trade of it ends in profit after costs
    vetoes : name of each rule -> (N,) bool, True where it forbids the trade
    """

    side: np.ndarray
    profit: dict[str, np.ndarray]
    confidence: np.ndarray
    min_confidence: np.ndarray
    expected_bps: np.ndarray
    stop: np.ndarray
    target: np.ndarray
    size: np.ndarray
    vetoes: dict[str, np.ndarray]

    @property
    def signal(self) -> np.ndarray:
        """(N,) the side where no rule forbids it, else NEUTRAL."""
        forbidden = np.zeros(len(self.side), bool)
        for veto in self.vetoes.values():
            forbidden |= veto
        return np.where(forbidden, NEUTRAL, self.side).astype(object)


def decide(fusion: FusionModel, signals: Columns, settings: Settings, rule: str) -> Decisions:
    """Confidence, stop, target and every rule's verdict for N candles.

    Parameters
    ----------
    signals : (N,) columns: timestamp, close, atr, atr_ratio, depth_btc; next_*; regime; warning, warning_probability;
        specialist (its signal), p_sell, p_buy; and the evidence columns of the catalog
    rule : "fused" or "strict"
    """
    rules = settings.fusion
    standard = fusion.standard(input_rows(signals, settings.costs))
    cost_bps = 1e4 * settings.costs.round_trip
    atr_bps = 1e4 * signals["atr"] / signals["close"]
    expected = {name: side.gain(standard) * atr_bps - cost_bps for name, side in fusion.sides.items()}
    side = np.where(expected[BUY] >= expected[SELL], BUY, SELL).astype(object)
    buys = side == BUY
    sign = np.where(buys, 1.0, -1.0)

    def of_side(by_side: dict[str, np.ndarray]) -> np.ndarray:
        return np.where(buys, by_side[BUY], by_side[SELL])

    profit = {name: model.probability(standard) for name, model in fusion.sides.items()}
    whale_sign = evidence.whale_sign(signals["impact_type"])
    whale = whale_sign * signals["whale_alert_score"]
    trajectory, agitation = signals["trajectory"], signals["volatility"]
    confidence = of_side(profit) + sign * (rules.whale_weight * whale + rules.trajectory_weight * trajectory)
    needed = rules.min_confidence + rules.atr_weight * signals["atr_ratio"] + rules.sentiment_weight * agitation
    value = of_side(expected)
    loud = settings.regime
    whale_loud = signals["whale_alert_score"] > loud.whale_alert
    vetoes = {
        f"expected value after costs is not above 0 ({cost_bps:.0f} bps a round trip)": value <= 0,
        "confidence is below the minimum": confidence < needed,
        f"order book is thinner than {rules.min_depth_btc:g} BTC": signals["depth_btc"] < rules.min_depth_btc,
        "sentiment is too volatile": agitation > rules.max_sentiment_volatility,
        "the specialist says the opposite": of_side(
            {BUY: signals["specialist"] == SELL, SELL: signals["specialist"] == BUY}
        ).astype(bool),
        "a whale alert says the opposite": whale_loud & (whale_sign == -sign),
        "an early warning says the opposite": of_side({BUY: signals["warning"] == "down", SELL: signals["warning"] == "up"}),
        "sentiment says the opposite": sign * trajectory < -loud.strong_trajectory,
    }
    if rule == "strict":
        favours = {name: np.isin(signals["regime"], SUPPORTING[name]) for name in SIDES}
        warned = {name: signals["warning"] == WARNED[name] for name in SIDES}
        vetoes |= {
            "strict: the specialist does not say so": signals["specialist"] != side,
            "strict: no whale alert for this side": ~(whale_loud & (whale_sign == sign)),
            "strict: sentiment is not strong for this side": sign * trajectory <= loud.strong_trajectory,
            "strict: the regime does not favour this side": ~of_side(favours).astype(bool),
            "strict: no early warning for this side": ~of_side(warned).astype(bool),
        }
    by_session = [getattr(settings.size, name) for name in session_names(signals["timestamp"], settings.sessions.starts)]
    stop = signals["close"] - sign * rules.stop_atr * signals["atr"]
    target = signals["close"] + sign * rules.target_atr * signals["atr"]
    return Decisions(side, profit, confidence, needed, value, stop, target, np.array(by_session, float), vetoes)


def answer(fusion: FusionModel, signals: Columns, settings: Settings) -> Columns:
    """The rows of ``final_signals`` for N candles; ``signals`` as in ``decide``."""
    decisions = decide(fusion, signals, settings, settings.fusion.rule)
    signal = decisions.signal
    trades = signal != NEUTRAL
    return {
        "timestamp": signals["timestamp"],
        "signal": signal,
        "confidence": decisions.confidence,
        "min_confidence": decisions.min_confidence,
        "expected_bps": decisions.expected_bps,
        "SL": np.where(trades, decisions.stop, np.nan),
        "TP": np.where(trades, decisions.target, np.nan),
        "size": np.where(trades, decisions.size, 0.0),
        "reason": np.array([reason(decisions, row) for row in range(len(signal))], object),
        "status": np.full(len(signal), OK, object),
    }


def gather(features: Columns, coming: Columns, regime: Columns, warning: Columns, specialist: Columns, said: Columns) -> Columns:
    """The (N,) columns that ``decide`` takes, from the rows of its input tables for the same N candles."""
    signals = {key: features[key] for key in ("timestamp", "close", "atr", "atr_ratio", "depth_btc")}
    signals |= {column.name: coming[column.name] for column in NEXT}
    signals |= {"regime": regime["regime"], "warning": warning["warning"], "specialist": specialist["signal"]}
    signals |= {"warning_probability": warning["probability"], "p_sell": specialist["p_sell"], "p_buy": specialist["p_buy"]}
    return signals | said


def reason(decisions: Decisions, row: int) -> str:
    """Why a row was decided as it was, in words."""
    against = [name for name, veto in decisions.vetoes.items() if veto[row]]
    promise = f"{decisions.side[row]} would promise {decisions.expected_bps[row]:+.1f} bps after costs"
    sure = f"confidence {decisions.confidence[row]:.2f}, needed {decisions.min_confidence[row]:.2f}"
    if against:
        return f"NEUTRAL: {'; '.join(against)}. {promise}, {sure}"
    return f"{decisions.side[row]}: {promise}, {sure}"


def _dot(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """rows @ weights, column by column: the same bits for one row as for many, which BLAS does not promise."""
    total = np.zeros(len(rows))
    for column, weight in enumerate(weights):
        total += rows[:, column] * weight
    return total
