"""What the rows that the live cycle wrote were worth, once it is known what came after them."""

import numpy as np

from modules.core import labels
from modules.core.module import Run
from modules.core.statistics import Figures, mean, share, warning_figures
from modules.core.tables import Columns, datetime_ist
from modules.core.words import BUY, MINUTE_MS, NEUTRAL, OK, SELL


def live_figures(run: Run) -> Figures:
    """Early warnings, the specialists' signals and the final signals of all live rows, the archive's too.

    Rows that the models learned from, rows that fell back, and rows whose horizon is not over or has a hole, are left
    out. A signal counts as a trade of its own, filled as the executor would fill it, after costs.
    """
    settings, figures = run.settings, Figures()
    wanted, fusion, seed = settings.labels, settings.fusion, settings.learning.seed
    candles, features = run.workspace.archived("candles_live"), _ok(run.workspace.archived("live_features"))
    warnings = _ok(run.workspace.archived("early_warnings"))
    if not len(warnings.get("timestamp", ())):
        return figures
    stamps = candles["timestamp"]
    ahead = wanted.horizon + 1
    whole = np.zeros(len(stamps), bool)
    whole[: len(stamps) - ahead] = stamps[ahead:] - stamps[: len(stamps) - ahead] == ahead * MINUTE_MS
    distance = labels.move_points(candles["close"], wanted.move_points, wanted.move_bps)
    _, moved = labels.first_side(candles["high"], candles["low"], candles["close"], distance, wanted.horizon)
    atr = np.full(len(stamps), np.nan)
    atr[np.searchsorted(stamps, features["timestamp"])] = features["atr"]

    judgeable = stamps[whole & ~np.isnan(atr) & (stamps > run.artifacts.fitted_to())]
    warnings = _only(warnings, judgeable)
    at = np.searchsorted(stamps, warnings["timestamp"])
    if not len(at):
        return figures
    scope = f"live rows, {datetime_ist(int(stamps[at[0]]))} to {datetime_ist(int(stamps[at[-1]]))} IST"
    given = warnings["warning"] != "none"
    warning_figures(figures, scope, stamps[at], warnings["probability"], given, moved[at], atr[at], seed)

    net = {
        name: labels.barrier_outcome(candles, atr, sign, fusion.stop_atr, fusion.target_atr, wanted.horizon)
        - settings.costs.round_trip
        for name, sign in ((BUY, 1), (SELL, -1))
    }
    for table in ("specialist_signals", "final_signals"):
        rows = _only(_ok(run.workspace.archived(table)), judgeable)
        where, signal = np.searchsorted(stamps, rows["timestamp"]), rows["signal"]
        called = signal != NEUTRAL
        earned = np.where(signal == BUY, net[BUY][where], net[SELL][where])[called]
        count, every = int(called.sum()), np.concatenate([net[BUY][where], net[SELL][where]])
        figures.add(scope, f"{table}: BUY or SELL", count, len(where))
        value, low, high = share(earned > 0, stamps[where][called], seed)
        base = float((every > 0).mean())
        figures.add(scope, f"{table}: win rate after costs", value, count, low, high, base, "both sides each minute")
        value, low, high = mean(1e4 * earned, stamps[where][called], seed)
        base = 1e4 * float(every.mean())
        figures.add(scope, f"{table}: mean net bps", value, count, low, high, base, "both sides each minute")
    return figures


def _ok(rows: Columns) -> Columns:
    if not rows:
        return rows
    good = rows["status"] == OK
    return {name: values[good] for name, values in rows.items()}


def _only(rows: Columns, stamps: np.ndarray) -> Columns:
    """The rows of these candles."""
    here = np.isin(rows["timestamp"], stamps)
    return {name: values[here] for name, values in rows.items()}
