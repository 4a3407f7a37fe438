"""The trained pipeline over a whole history at once: the same functions as live, on N rows instead of one."""

import numpy as np

from modules.core import catalog, evidence
from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS, OK
from modules.m1_data_engine import context
from modules.m1_data_engine import model as m1
from modules.m1_data_engine import predictor as m1_live
from modules.m2_regime import model as m2
from modules.m2_regime import predictor as m2_live
from modules.m3_specialist import model as m3
from modules.m3_specialist import predictor as m3_live
from modules.m5_meta_fusion import model as m5
from modules.m5_meta_fusion import predictor as m5_live


def live_tables(run: Run, candles: Columns, extras: dict[str, Columns] | None = None) -> dict[str, Columns]:
    """What each live table would hold had the trained pipeline run on every candle.

    Parameters
    ----------
    candles : M closed candles without a gap; the first ones only warm the features and the regime filter up
    extras : optional tables (depth, eth, …) by name

    Returns
    -------
    table name -> (N,) columns, the rows of live_features, current_regime, next_regime_probs, early_warnings,
    specialist_signals and final_signals, N = M less the warm-up; whale and sentiment as their tables say

    Raises
    ------
    PipelineError : fewer candles than the warm-up takes; or whale or sentiment models are trained and neither
        their history nor their live table tells of all of these candles, for live they would have spoken
    """
    settings = run.settings
    names, scaler = m1_live.scaling(run)
    warm, memory = m1.rows_needed(names) - 1, settings.regime.memory - 1
    if len(candles["timestamp"]) <= warm + memory:
        raise PipelineError(f"{len(candles['timestamp'])} candles are too few: {warm + memory} are warm-up")
    market = m1.market_of(candles, extras or {})
    scaled = scaler.scale(m1.features(market, names)[warm:])
    around = {name: values[warm:] for name, values in context.context(market).items()}
    features = m1.table(candles["timestamp"][warm:], around, scaled, names)
    features["status"] = np.full(len(scaled), OK, object)
    path = np.stack([features[name] for name in m2.PATH], 1)

    features = {name: values[memory:] for name, values in features.items()}
    stamps = features["timestamp"]
    for table, unknown in evidence.unrecorded(run.workspace, stamps).items():
        raise PipelineError(
            f"{run.workspace.path(table)}: ends before these candles do, and the live table does not tell of {unknown} of those"
            " behind its end, so what the pipeline would have decided is not known: --replay them first, or train on"
            " candles that reach as far"
        )
    before, now = (evidence.recorded(run.workspace, stamps, lag) for lag in (1, 0))
    tables = {"live_features": features, **m2.answer(m2_live.models(run), path, features, before, settings)}
    regime = tables["current_regime"]

    def specialist_of(name: str) -> m3.Specialist:
        return m3_live.specialist(run, name)

    specialist = m3.answer(specialist_of, features, regime["regime"], before, settings)
    signals = m5.gather(features, tables["next_regime_probs"], regime, tables["early_warnings"], specialist, now)
    final = m5.answer(m5_live.fusion(run), signals, settings)
    return tables | {"specialist_signals": specialist, "final_signals": final}


def with_history(run: Run, candles: Columns) -> Columns:
    """Candles, with the newest of the workspace's history before them where they follow it without a gap: for warm-up."""
    if not run.workspace.exists("candles_history"):
        return candles
    history = run.workspace.read("candles_history", last=catalog.CANDLES_KEPT)
    before = history["timestamp"] < candles["timestamp"][0]
    if not before.any() or history["timestamp"][before][-1] != candles["timestamp"][0] - MINUTE_MS:
        return candles
    return {name: np.concatenate([history[name][before], candles[name]]) for name in candles}
