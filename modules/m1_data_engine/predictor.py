"""Run module 1 on one closed candle: fetch what is new, compute the features, scale them as the newest scaler does."""

import sys

import numpy as np

from modules.core import catalog, evidence, telemetry
from modules.core.errors import InputNotReady, SourceError
from modules.core.module import Run, predictor_main
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS, OK
from modules.m1_data_engine import context, model
from modules.m1_data_engine.candle_files import without_gaps
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.feeds import ExchangeFeed

TABLES = ("candles_live", "live_features")


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The candle, the optional tables' rows and the features of ``timestamp``.

    Features of earlier candles that are not on disk yet (the first cycle, or after an outage) come with it, as far back
    as the regime filter remembers.
    """
    names, scaler = scaling(run)
    _fetch(run, timestamp, names)
    candles = _contiguous(run, timestamp)
    needed = model.rows_needed(names)
    fresh = _rows_to_write(run, timestamp, len(candles["timestamp"]) - needed + 1)
    if fresh < 1:
        raise InputNotReady(f"{len(candles['timestamp'])} candles on disk, {needed} are needed for warm-up")
    window = {name: values[-(needed + fresh - 1) :] for name, values in candles.items()}
    market = model.market_of(window, _extras(run, window["timestamp"], names))
    raw = model.features(market, names)[-fresh:]
    scaled = scaler.scale(raw)
    around = {name: values[-fresh:] for name, values in context.context(market).items()}
    rows = model.table(window["timestamp"][-fresh:], around, scaled, names)
    rows["status"] = np.full(fresh, OK, object)
    missing = np.isnan(raw)
    if missing[-1].any():
        absent = ", ".join(name for name, gone in zip(names, missing[-1], strict=True) if gone)
        raise InputNotReady(f"no value for {absent}: a table that they need does not reach back far enough, or has a gap")
    # Rows of earlier candles that lack a value are left out: the regime filter passes over them.
    whole = ~missing.any(axis=1)
    return {"live_features": {name: values[whole] for name, values in rows.items()}}


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """The row before, marked as a fallback; nothing where there is no row yet."""
    if not run.workspace.exists("live_features"):
        return {}
    rows = run.workspace.read("live_features", last=2)
    earlier = np.flatnonzero(rows["timestamp"] < timestamp)
    if not len(earlier):
        return {}
    row = {name: values[earlier[-1] :][:1].copy() for name, values in rows.items()}
    row["timestamp"][0], row["status"][0] = timestamp, why
    return {"live_features": row}


def _fetch(run: Run, timestamp: int, names: list[str]) -> None:
    """Append to the live tables what the source has beyond them; the candles last, so that they vouch for the rest."""
    newest = run.workspace.newest("candles_live")
    if run.source is None or (newest is not None and newest >= timestamp):
        return
    candles = run.source.candles(newest, timestamp, catalog.CANDLES_KEPT)
    if not len(candles["timestamp"]) or candles["timestamp"][-1] != timestamp:
        raise SourceError("the source has no candle for this minute yet")
    candles = _seamless(run, candles)
    for name in _extras_wanted(names):
        try:
            rows = run.source.extra(name, run.workspace.newest(f"{name}_live"), timestamp, catalog.CANDLES_KEPT)
        except SourceError as error:
            # The candle must come in all the same: the executor needs it for stops and exits.
            telemetry.log(run.workspace.root, f"m1_data_engine has no {name} at {timestamp}: {error}")
            continue
        if rows is not None and len(rows["timestamp"]):
            run.workspace.append(f"{name}_live", rows | {"status": np.full(len(rows["timestamp"]), OK, object)})
    run.workspace.append("candles_live", candles | {"status": np.full(len(candles["timestamp"]), OK, object)})


def _seamless(run: Run, candles: Columns) -> Columns:
    """The new candles, with flat ones before them where the exchange left a short hole after those on disk."""
    last = run.workspace.read("candles_live", last=1) if run.workspace.exists("candles_live") else {}
    if not last or not len(last["timestamp"]):
        return candles
    missing = (int(candles["timestamp"][0]) - int(last["timestamp"][0])) // MINUTE_MS - 1
    if not 0 < missing <= run.settings.data.max_gap_minutes:
        return candles
    telemetry.log(run.workspace.root, f"m1_data_engine filled {missing} minutes with flat candles: the exchange had none")
    joined = {name: np.concatenate([last[name], values]) for name, values in candles.items()}
    return {name: values[1:] for name, values in without_gaps(joined).items()}


def _extras_wanted(names: list[str]) -> list[str]:
    """Depth, which the fusion's rule asks for, and the tables that the features in use are made of."""
    features = registry.named(names)
    return [name for name in catalog.EXTRAS if name == "depth" or any(name in feature.needs for feature in features)]


def _contiguous(run: Run, timestamp: int) -> Columns:
    """The live candles up to ``timestamp`` that follow one another without a hole."""
    candles = run.workspace.read("candles_live")
    stamps = candles["timestamp"]
    end = int(np.searchsorted(stamps, timestamp, side="right"))
    if not end or stamps[end - 1] != timestamp:
        raise InputNotReady("the candle of this minute is not on disk")
    holes = np.flatnonzero(np.diff(stamps[:end]) != MINUTE_MS)
    start = int(holes[-1]) + 1 if len(holes) else 0
    return {name: values[start:end] for name, values in candles.items() if name != "status"}


def _rows_to_write(run: Run, timestamp: int, possible: int) -> int:
    """How many of the newest rows are missing on disk, as far as the candles and the filter's memory reach."""
    wanted = run.settings.regime.memory
    if run.workspace.exists("live_features"):
        stamps = run.workspace.read("live_features", last=wanted)["timestamp"]
        there = set(stamps[stamps < timestamp].tolist())
        back = 1
        while back < wanted and timestamp - back * MINUTE_MS not in there:
            back += 1
        wanted = back
    return min(wanted, possible)


def _extras(run: Run, timestamps: np.ndarray, names: list[str]) -> dict[str, Columns]:
    """The optional tables as far as they are on disk, whale and sentiment as training saw them: lagged, neutral where a
    room said nothing.

    Raises
    ------
    InputNotReady : a feature in use is made of a table that is not there
    """
    extras = {name: run.workspace.read(f"{name}_live") for name in catalog.EXTRAS if run.workspace.exists(f"{name}_live")}
    needed = {need for feature in registry.named(names) for need in feature.needs}
    if needed & {"whale", "sentiment"}:
        extras |= model.evidence_extras(timestamps, evidence.live(run.workspace, timestamps, lag=1))
    absent = sorted(needed - set(extras))
    if absent:
        raise InputNotReady(f"features in use are made of {', '.join(absent)}, and there is no such table under data/live")
    return extras


def scaling(run: Run) -> tuple[list[str], model.Scaler]:
    """The features in use, in their order, and the newest scaler; the user's own features are in the registry then."""
    artifacts = run.artifacts.names()
    if "own_features" in artifacts:
        registry.use_own(run.artifacts.once("own_features", None, registry.own_features))
    numbers = [int(name.split("_")[1]) for name in artifacts if name.startswith("scaler_")]
    newest = max(numbers, default=0)
    content = run.artifacts.load_json("scaler_{k}_export", newest)
    names = run.artifacts.entry("scaler_{k}_export", newest)["features"]
    return names, model.Scaler(np.array(content["low"]), np.array(content["high"]))


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__], ExchangeFeed))
