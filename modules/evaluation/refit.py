"""What was learned from what: scalers and histories computed again, and a small slice trained again on other candles."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np

from modules.core import catalog, evidence
from modules.core.catalog import EVIDENCE, TABLES
from modules.core.errors import PipelineError
from modules.core.history import History, inputs
from modules.core.module import Run
from modules.core.settings import Settings
from modules.core.splits import OUT_OF_SAMPLE
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.evaluation.findings import FAIL, NOTE, PASS, Finding
from modules.evaluation.lookahead import another_future, same
from modules.m1_data_engine import model as m1
from modules.m1_data_engine import predictor as m1_live
from modules.m1_data_engine import trainer as m1_trainer
from modules.m2_regime import model as m2
from modules.m2_regime import predictor as m2_live
from modules.m2_regime import trainer as m2_trainer
from modules.m3_specialist import model as m3
from modules.m3_specialist import predictor as m3_live
from modules.m3_specialist import trainer as m3_trainer
from modules.m5_meta_fusion import trainer as m5_trainer

SCALERS, FITTED, SERVED = "scaler leakage", "fitted before judged", "histories are what serves"
TAIL, FOLDS = "tail leakage", "fold leakage"
TOLERANCE = 1e-9
"""Tables keep ten decimals."""
JUDGED = 3_000
"""The newest rows of the tail whose histories are computed again."""
SLICE, BLOCKS, ROUNDS = 12_000, 4, 40
"""Candles, walk-forward blocks and boosting rounds of the slice that is trained again: enough for each room to learn
something, little enough for a minute."""
HISTORIES = ("regime_assignments", "specialist_history")


def check_scalers(run: Run, progress: Progress) -> list[Finding]:
    """Each scaler is the range of its own chunk's raw rows, each chunk is scaled by the one before it (law 3), and live
    rows are by the newest."""
    progress.step(SCALERS)
    candles = run.workspace.read("candles_history")
    names, live = m1_live.scaling(run)
    raw = m1.features(m1.market_of(candles, m1_trainer.history_extras(run, candles["timestamp"])), names)
    m1.fill_missing(raw, run.settings.data.max_missing, run.settings.data.max_gap_minutes)
    found, before, k = [], None, 0
    own = live
    while run.workspace.exists("chunk", k):
        chunk = run.workspace.read("chunk", k)
        rows = raw[np.searchsorted(candles["timestamp"], chunk["timestamp"])]
        content = run.artifacts.load_json("scaler_{k}_export", k)
        own = m1.Scaler(np.array(content["low"]), np.array(content["high"]))
        width = np.maximum(rows.max(axis=0) - rows.min(axis=0), 1e-12)
        gap = np.maximum(np.abs(own.low - rows.min(axis=0)), np.abs(own.high - rows.max(axis=0))) / width
        told = "" if gap.max() <= TOLERANCE else f"not the range of its own chunk, most in {names[int(gap.argmax())]}"
        found.append(_limit(SCALERS, f"scaler_{k}", float(gap.max()), "difference, in the width of the range", told, len(rows)))
        expected = (before or own).scale(rows)
        gaps = np.abs(np.stack([chunk[name] for name in names], 1) - expected) / np.maximum(1, np.abs(expected))
        told = (
            ""
            if gaps.max() <= TOLERANCE
            else f"not scaled by the scaler before it, most in {names[int(gaps.max(axis=0).argmax())]}"
        )
        found.append(_limit(SCALERS, f"chunk_{k}", float(gaps.max()), "greatest difference", told, len(rows)))
        before, k = own, k + 1
    gap = float(np.maximum(np.abs(live.low - own.low), np.abs(live.high - own.high)).max())
    found.append(_limit(SCALERS, "live rows", gap, "difference to the newest chunk's scaler", "", len(names)))
    progress.done()
    return found


def check_fitted(run: Run, progress: Progress) -> list[Finding]:
    """No model was fitted on the tail that it is judged on, by the manifest's own word; scalers may be, by law 3."""
    assigned = run.workspace.read("regime_assignments")
    tail = int(assigned["timestamp"][assigned["fold"] == OUT_OF_SAMPLE][0])
    found = []
    for name in run.artifacts.names():
        if not name.startswith("scaler_"):
            minutes = (tail - run.artifacts.entry(name)["fitted_to"]) / 60_000
            what = "minutes from the last candle that it was fitted on to the first that it is judged on"
            found.append(Finding(FITTED, name, PASS if minutes > 0 else FAIL, minutes, what, "", 1))
    return found


def check_served(run: Run, progress: Progress) -> list[Finding]:
    """On the tail, the histories that the figures and the fusion are made of say what the models that serve say."""
    progress.step(SERVED)
    history, settings = History.load(run.workspace, run.settings), run.settings
    assigned, specialist = (run.workspace.read(name) for name in HISTORIES)
    memory = settings.regime.memory - 1
    first = max(history.training, len(history) - JUDGED, memory)
    path = inputs(history.features, list(m2.PATH))[first - memory :]
    features = {name: values[first:] for name, values in history.features.items()}
    said = evidence.history(run.workspace, features["timestamp"], lag=1)
    told = m2.answer(m2_live.models(run), path, features, said, settings)

    def specialist_of(name: str) -> m3.Specialist:
        return m3_live.specialist(run, name)

    signals = m3.answer(specialist_of, features, told["current_regime"]["regime"], said, settings)
    regime, coming = told["current_regime"], told["next_regime_probs"]
    expected = {
        "regime_assignments": {
            "regime": regime["regime"],
            "confidence": regime["confidence"],
            "warning_probability": told["early_warnings"]["probability"],
            **{name: values for name, values in coming.items() if name.startswith("next_")},
        },
        "specialist_history": {name: signals[name] for name in ("p_sell", "p_buy")},
    }
    found = []
    for table, columns in zip(HISTORIES, (assigned, specialist), strict=True):
        at = np.isin(columns["timestamp"], features["timestamp"])
        for name, values in expected[table].items():
            if values.dtype == object:
                gap = float((columns[name][at] != values).mean())
            else:
                gap = float(np.abs(columns[name][at] - values).max())
            what = "share of rows that differ" if values.dtype == object else "greatest difference to the model that serves"
            told_of = (
                ""
                if gap <= TOLERANCE
                else "the history is not what the live rows would say: what learned from it learned another thing"
            )
            found.append(_limit(SERVED, f"{table}.{name}", gap, what, told_of, int(at.sum())))
    progress.done()
    return found


def check_refit(run: Run, progress: Progress) -> list[Finding]:
    """A slice of the history is trained three times: as it is; with another tail, which must change no model, no choice
    of features and no earlier row; with another second half of the newest block, which must change no row before it."""
    progress.step(f"{TAIL}, {FOLDS}: a slice trained three times", 3)
    with TemporaryDirectory() as folder:
        try:
            found = list(_refits(run, Path(folder), progress))
        except PipelineError as error:
            found = [Finding(FOLDS, "all", NOTE, np.nan, "", f"the slice could not be trained: {error}", 0)]
    progress.done()
    return found


def _refits(run: Run, folder: Path, progress: Progress) -> Iterator[Finding]:
    candles = run.workspace.read("candles_history", last=SLICE)
    settings = _small(run, candles)
    plain = _desk(run, folder / "plain", settings, candles)
    _train(plain, m1_trainer)
    shutil.copytree(folder / "plain", folder / "folds")
    _train(plain, m2_trainer, m3_trainer, m5_trainer)
    progress.advance()
    assigned = plain.workspace.read("regime_assignments")
    stamps, fold = assigned["timestamp"], assigned["fold"]
    tail = int(stamps[fold == OUT_OF_SAMPLE][0])
    newest = stamps[fold == BLOCKS - 1]
    middle = int(newest[len(newest) // 2])

    other = _desk(run, folder / "tail", settings, candles)
    for name in ("candles", *catalog.EXTRAS):
        _change(other, f"{name}_history", tail)
    _train(other, m1_trainer, m2_trainer, m3_trainer, m5_trainer)
    progress.advance()
    yield from _tail_findings(plain, other, tail)

    later = Run.open(folder / "folds", settings)
    _change(later, "candles_history", middle)
    for k in range(_chunks(later)):
        _change(later, "chunk", middle, k)
    _train(later, m2_trainer, m3_trainer)
    progress.advance()
    for table in HISTORIES:
        yield from _rows_before(FOLDS, plain, later, table, middle)


def _small(run: Run, candles: Columns) -> Settings:
    """Settings for a slice: few blocks and rounds, and moves so near that a third of the minutes has one."""
    settings, rows = run.settings, len(candles["timestamp"])
    horizon, close = settings.labels.horizon, candles["close"]
    usual = 1e4 * float(np.quantile(np.abs(np.log(close[horizon:] / close[:-horizon])), 0.7))
    own = settings.data.own_features
    if not own and "own_features" in run.artifacts.names():
        own = str((run.workspace.root / run.artifacts.entry("own_features")["path"]).resolve())
    return replace(
        settings,
        data=replace(settings.data, rows=rows, chunk_rows=max(500, rows // 4), own_features=own),
        labels=replace(settings.labels, move_bps=max(usual, 0.1)),
        learning=replace(settings.learning, folds=BLOCKS, rounds=min(ROUNDS, settings.learning.rounds), min_regime_rows=500),
    )


def _desk(run: Run, folder: Path, settings: Settings, candles: Columns) -> Run:
    """A workspace of its own with the candles and all that lies beside them."""
    desk = Run.open(folder, settings)
    desk.workspace.write("candles_history", candles)
    for name in (*(f"{extra}_history" for extra in catalog.EXTRAS), *(TABLES[room.table].history for room in EVIDENCE)):
        if run.workspace.exists(name):
            desk.workspace.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.workspace.path(name), desk.workspace.path(name))
    return desk


def _train(run: Run, *trainers: ModuleType) -> None:
    for trainer in trainers:
        trainer.train(run, Progress(quiet=True))


def _change(run: Run, table: str, stamp: int, k: int | None = None) -> None:
    """Give a table of candles or features another future from the stamp on."""
    if run.workspace.exists(table, k):
        rows = run.workspace.read(table, k)
        run.workspace.write(table, another_future(rows, int(np.searchsorted(rows["timestamp"], stamp))), k)


def _chunks(run: Run) -> int:
    k = 0
    while run.workspace.exists("chunk", k):
        k += 1
    return k


def _tail_findings(plain: Run, other: Run, tail: int) -> Iterator[Finding]:
    old, new = (run.workspace.read("feature_ranking") for run in (plain, other))
    moved = [name for name in old if not same(old[name], new[name]).all()]
    detail = f"with other candles in the tail, {', '.join(moved)} of the ranking change" if moved else ""
    yield Finding(TAIL, "features chosen", FAIL if moved else PASS, len(moved), "columns that change", detail, len(old["rank"]))
    for name in plain.artifacts.names():
        entry = plain.artifacts.entry(name)
        if name.startswith("scaler_") and entry["fitted_to"] >= tail:
            continue  # fitted on rows of the tail, by law 3
        changed = name not in other.artifacts.names() or other.artifacts.entry(name)["sha256"] != entry["sha256"]
        detail = "other candles in the tail make it another model" if changed else ""
        yield Finding(TAIL, name, FAIL if changed else PASS, float(changed), "1 where its bytes change", detail, 1)
    for k in range(_chunks(plain)):
        yield from _rows_before(TAIL, plain, other, "chunk", tail, k)
    for table in HISTORIES:
        yield from _rows_before(TAIL, plain, other, table, tail)


def _rows_before(check: str, plain: Run, other: Run, table: str, stamp: int, k: int | None = None) -> Iterator[Finding]:
    """The columns of a table of both runs, as far as they lie before the stamp."""
    old, new = (run.workspace.read(table, k) for run in (plain, other))
    before = int(np.searchsorted(old["timestamp"], stamp))
    for name in [name for name in old if name not in ("timestamp", "fold")] if before else []:
        there = name in new and len(new[name]) >= before
        changed = int((~same(old[name][:before], new[name][:before])).sum()) if there else before
        subject = f"{table if k is None else f'{table}_{k}'}.{name}"
        detail = f"{changed} of {before} earlier rows change with what comes later" if changed else ""
        yield Finding(check, subject, FAIL if changed else PASS, changed, "earlier rows that change", detail, before)


def _limit(check: str, subject: str, gap: float, what: str, detail: str, n: int) -> Finding:
    return Finding(check, subject, PASS if gap <= TOLERANCE else FAIL, gap, f"{what}, at most {TOLERANCE:g}", detail, n)
