"""What every room of the trained pipeline said at each candle of a history: all that evaluation needs, in one table."""

import numpy as np

from modules.core import evidence
from modules.core.catalog import NEXT
from modules.core.history import inputs
from modules.core.labels import BUY as BUYS
from modules.core.labels import SELL as SELLS
from modules.core.module import Run
from modules.core.tables import Columns
from modules.core.words import BUY, NEUTRAL, REGIMES, SELL
from modules.evaluation.batch import live_tables
from modules.m1_data_engine.predictor import scaling
from modules.m1_data_engine.trainer import history_extras
from modules.m2_regime.model import AXES
from modules.m2_regime.predictor import models
from modules.m3_specialist.model import POOLED
from modules.m3_specialist.predictor import specialist
from modules.m5_meta_fusion import model as m5
from modules.m5_meta_fusion.predictor import fusion

RULES = ("fused", "strict")


def testimony(run: Run, candles: Columns) -> Columns:
    """The rows of ``catalog.SAID`` for every candle that the pipeline can decide.

    Parameters
    ----------
    candles : M closed candles without a gap, the first ones for warm-up

    Returns
    -------
    (N,) columns with their ``timestamp``. As in the live cycle, a candle that lacks a feature is NEUTRAL.
    """
    tables = live_tables(run, candles, history_extras(run, candles["timestamp"]))
    features, regime = tables["live_features"], tables["current_regime"]
    stamps = features["timestamp"]
    now, before = (evidence.recorded(run.workspace, stamps, lag) for lag in (0, 1))
    coming, warning, special = (tables[name] for name in ("next_regime_probs", "early_warnings", "specialist_signals"))
    signals = m5.gather(features, coming, regime, warning, special, now)
    known = ~np.isnan(np.stack([features[name] for name in scaling(run)[0]])).any(0)
    rules = {rule: m5.decide(fusion(run), signals, run.settings, rule) for rule in RULES}
    decided = rules["fused"]
    pooled = specialist(run, POOLED)
    plain = pooled.trees.predict(np.hstack([inputs(features, pooled.inputs), evidence.encode(before)]))
    here = np.searchsorted(candles["timestamp"], stamps)
    return {
        **{name: values[here] for name, values in candles.items()},
        "atr": features["atr"],
        "atr_ratio": features["atr_ratio"],
        "regime": regime["regime"],
        "regime_confidence": regime["confidence"],
        "hindsight": _hindsight(run, features),
        **{column.name: coming[column.name] for column in NEXT},
        "warning": warning["warning"],
        "warning_probability": warning["probability"],
        "warning_threshold": warning["threshold"],
        "specialist": special["signal"],
        "p_sell": special["p_sell"],
        "p_buy": special["p_buy"],
        "pooled_sell": plain[:, SELLS],
        "pooled_buy": plain[:, BUYS],
        **now,
        **{rule: np.where(known, its.signal, NEUTRAL).astype(object) for rule, its in rules.items()},
        "promised": decided.side,
        "confidence": decided.confidence,
        "expected_bps": decided.expected_bps,
        "stop": decided.stop,
        "target": decided.target,
        "size": decided.size,
        "profit_buy": decided.profit[BUY],
        "profit_sell": decided.profit[SELL],
    }


def _hindsight(run: Run, features: Columns) -> np.ndarray:
    """(N,) the regime that the trained chain names once it knows all N rows: forward and backward."""
    regimes, chain = models(run).regimes, run.artifacts.load_pickle("hmm_model")
    standard = (np.stack([features[name] for name in AXES], 1) - regimes.centre) / regimes.scale
    return np.array(REGIMES, object)[chain.predict_proba(standard).argmax(axis=1)]
