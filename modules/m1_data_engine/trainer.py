"""Train module 1: candle file -> 15 selected features, scaled chunk by chunk."""

import sys
from pathlib import Path

import numpy as np

from modules.core import catalog, evidence, labels
from modules.core.errors import PipelineError
from modules.core.module import Run, trainer_main
from modules.core.statistics import Figures
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.m1_data_engine import candle_files, context, model
from modules.m1_data_engine.features import registry

SAMPLE_ROWS = 16_000
"""Training rows on which the features' rank correlations are taken."""


def train(run: Run, progress: Progress) -> list[str]:
    """Read the candles, select features on training rows, write the chunks and scalers; what was done, in lines."""
    data = run.settings.data
    said = store_candles(run, progress) if run.candles else []
    if not run.workspace.exists("candles_history"):
        raise PipelineError("there are no candles to learn from: give a candle file with --candles FILE")
    candles = run.workspace.read("candles_history")
    extras = history_extras(run, candles["timestamp"])
    own = own_source(run)
    available = registry.candidates(extras)
    if absent := list(registry.left_out(extras)):
        said.append(f"1 data engine: no features of {', '.join(absent)}: there is no such table")

    progress.step(f"1 data engine: {len(available)} candidate features", len(available) + 1)
    market = model.market_of(candles, extras)
    around = context.context(market)
    progress.advance()
    raw = np.empty((len(candles["timestamp"]), len(available)), order="F")
    for i, feature in enumerate(available):
        raw[:, i] = registry.compute(market, [feature])[:, 0]
        progress.advance()
    progress.done()

    warm = np.flatnonzero(~np.isnan(around["atr_ratio"]))
    known = np.isnan(raw[registry.LONGEST_WARMUP :]).mean(axis=0) <= data.max_missing
    if not known.all():
        poor = [feature.name for feature, there in zip(available, known, strict=True) if not there]
        said.append(f"1 data engine: left out, for their table has too few rows: {', '.join(poor)}")
        available = tuple(f for f, there in zip(available, known, strict=True) if there)
        raw = raw[:, known]
    keep = model.fill_missing(raw, data.max_missing, data.max_gap_minutes)
    rows = warm[keep[warm]]
    if len(rows) < 4 * data.chunk_rows // 5 or len(rows) < 1_000:
        raise PipelineError(
            f"only {len(rows)} of {len(raw)} candles have features (the first {model.rows_needed([]) - 1} are warm-up):"
            " give a longer candle file"
        )
    training = rows[: int(len(rows) * (1 - data.out_of_sample))]
    scores, chosen = _select(run, candles, raw, training, progress)
    names = [available[i].name for i in chosen]
    progress.step("1 data engine: scaling and writing the chunks")
    figures = _write_chunks(run, candles, around, raw[:, chosen], rows, names)
    if own:  # what was trained is what runs, whatever becomes of the user's file
        span = (int(candles["timestamp"][training[0]]), int(candles["timestamp"][training[-1]]))
        run.artifacts.save("own_features", own, span, names)
    figures.add("all rows", "candles read", len(raw), len(raw))
    figures.add("all rows", "rows dropped: warm-up or more missing than allowed", len(raw) - len(rows), len(raw))
    run.workspace.write("data_stats", figures.columns())
    ranking = np.argsort(-scores["mutual_info"], kind="stable")
    run.workspace.write(
        "feature_ranking",
        {
            "feature": np.array([available[i].name for i in ranking], object),
            "family": np.array([available[i].family for i in ranking], object),
            **{name: values[ranking] for name, values in scores.items()},
            "rank": np.arange(1, len(ranking) + 1),
            "selected": np.isin(ranking, chosen).astype(int),
        },
    )
    progress.done()
    drifted = [scope for scope, figure, value, *_ in figures.rows if figure.startswith("drift") and value > data.drift_mse]
    if drifted:
        said.append(f"1 data engine: the features drift by more than {data.drift_mse:g} from {', '.join(drifted)}")
    return [*said, f"1 data engine: {len(rows)} rows, {len(available)} candidates, kept {', '.join(names)}"]


def own_source(run: Run) -> bytes:
    """The user's own features as ``[data] own_features`` names them, in use from now on; b"" where it names none."""
    if not run.settings.data.own_features:
        registry.use_own(())
        return b""
    path = Path(run.settings.data.own_features)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read ({error.strerror}); [data] own_features names it") from error
    registry.use_own(registry.own_features(source, str(path)))
    return source


def history_extras(run: Run, timestamps: np.ndarray) -> dict[str, Columns]:
    """The optional tables of the workspace, and what whale and sentiment said one minute before, where they have a history."""
    extras = {name: run.workspace.read(f"{name}_history") for name in catalog.EXTRAS if run.workspace.exists(f"{name}_history")}
    told = model.evidence_extras(timestamps, evidence.recorded(run.workspace, timestamps, lag=1))
    return extras | {name: rows for name, rows in told.items() if run.workspace.exists(f"{name}_history")}


def store_candles(run: Run, progress: Progress) -> list[str]:
    """Take the newest rows of the candle file into the workspace; what was mended, in lines."""
    assert run.candles is not None
    progress.step(f"1 data engine: reading {run.candles.name}")
    candles, repairs = candle_files.read_candles(run.candles, run.settings.data.max_gap_minutes)
    newest = {name: values[-run.settings.data.rows :] for name, values in candles.items()}
    run.workspace.write("candles_history", newest)
    progress.done()
    return [f"repaired: {repair}" for repair in repairs]


def _select(
    run: Run, candles: Columns, raw: np.ndarray, training: np.ndarray, progress: Progress
) -> tuple[dict[str, np.ndarray], list[int]]:
    """What each candidate tells about the label on training rows, and the columns that are kept.

    The label says two things: does a move come, and on which side first. By the chain rule the information on the label
    is that on the first and, weighted by how often a move comes, that on the second; ranked together the first drowns
    the second, so columns are taken from both rankings in turn.

    The estimate is of binned values: those of neighbouring minutes are nearly equal, and an estimate by nearest
    neighbours recognises the minute instead of telling about it.
    """
    from sklearn.metrics import mutual_info_score

    wanted = run.settings.labels
    distance = labels.move_points(candles["close"], wanted.move_points, wanted.move_bps)
    label, moved = labels.first_side(candles["high"], candles["low"], candles["close"], distance, wanted.horizon)
    usable = training[: -wanted.horizon - 1]  # the labels of the last rows are made of the out-of-sample tail
    one_side = usable[label[usable] != labels.NEUTRAL]
    questions = {
        "mutual_info": (usable, label),
        "move_info": (usable, moved),
        "side_info": (one_side, label),
    }
    progress.step("1 data engine: mutual information of each feature", raw.shape[1])
    scores = {name: np.zeros(raw.shape[1]) for name in questions}
    for i in range(raw.shape[1]):
        for name, (rows, asked) in questions.items():
            scores[name][i] = max(0.0, mutual_info_score(model.bins(raw[rows, i]), asked[rows])) if len(rows) else 0.0
        progress.advance()
    progress.done()
    sample = raw[usable[:: max(1, len(usable) // SAMPLE_ROWS)]]
    rankings = (scores["move_info"], scores["side_info"])
    return scores, model.select(rankings, sample, run.settings.data.select, run.settings.data.max_correlation)


def _write_chunks(run: Run, candles: Columns, around: Columns, raw: np.ndarray, rows: np.ndarray, names: list[str]) -> Figures:
    """Chunk k scaled by the scaler of chunk k-1, chunk 0 by its own (law 3)."""
    from sklearn.preprocessing import MinMaxScaler

    figures = Figures()
    stamps = candles["timestamp"]
    # The regimes and the fusion learned from the old features and scalers: until they learn anew, nothing may decide.
    for room in (catalog.M1, catalog.M2, catalog.M5):
        run.artifacts.forget(room)
    k = 0
    while run.workspace.exists("chunk", k):
        run.workspace.path("chunk", k).unlink()
        k += 1
    scaler, before = None, rows[:0]
    for k, part in enumerate(model.chunks(rows, run.settings.data.chunk_rows)):
        fitted = MinMaxScaler().fit(raw[part])
        own = model.Scaler(fitted.data_min_, fitted.data_max_)
        scaled = (scaler or own).scale(raw[part])
        run.workspace.write("chunk", model.table(stamps[part], {n: c[part] for n, c in around.items()}, scaled, names), k)
        span = (int(stamps[part[0]]), int(stamps[part[-1]]))
        run.artifacts.save_json("scaler_{k}_export", {"low": own.low.tolist(), "high": own.high.tolist()}, span, names, k)
        run.artifacts.save_pickle("scaler_{k}", fitted, span, names, k)
        if scaler is not None:
            moved = model.drift(scaler.scale(raw[before]), scaled)
            figures.add(
                f"chunk {k - 1} to {k}",
                "drift: squared difference of scaled means",
                moved,
                len(part),
                baseline=run.settings.data.drift_mse,
                baseline_is="reported as drift above this",
            )
        scaler, before = own, part
    return figures


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
