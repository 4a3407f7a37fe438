"""Run module 4B on one closed candle: read the sources, score what is new, write trajectory and volatility.

Off where no source is configured: no failure, and no evidence.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modules.core import clock, telemetry
from modules.core.catalog import EVIDENCE, LIVE
from modules.core.catalog import TABLES as CATALOG
from modules.core.errors import SourceError
from modules.core.module import Run, one_row, predictor_main
from modules.core.retry import TryAgain
from modules.core.tables import Columns, from_rows
from modules.core.words import MINUTE_MS, OFF, OK
from modules.m4b_sentiment import model, sources, text
from modules.m4b_sentiment.sources import Asking, Mark, Place, Post, PostFile, RssSource, XSource

if TYPE_CHECKING:
    from modules.m4b_sentiment.encoder import PostEncoder

TABLES = ("sentiment_trajectories", "sentiment_counts")
MARKS = tuple(column.name for column in CATALOG["news_marks"].columns)
DROPPED = ("empty", "language", "spam", "duplicate", "stale", "unread")
ASK_WITHIN_MS = 5 * MINUTE_MS
"""After a candle's close; what feeds say later tells nothing of it, so a replay asks none."""
ASK_S = 20.0
"""Seconds after which no further feed is asked in a minute; each minute begins with another one."""
ENGLISH = ("", "en", "und", "qme", "qht", "zxx")
"""X's marks of posts that may be English: the language itself, and its words for "cannot be told"."""


@dataclass(frozen=True)
class _Seen:
    """Posts kept in this cycle, by time, and how many were read, kept and dropped for which reason."""

    stamps: list[int]
    sources: list[str]
    texts: list[str]
    counts: Counter[str]


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The trajectory of ``timestamp`` from the posts seen before it closed; only new posts load the encoder.

    Raises
    ------
    SourceError : the file cannot be read, or no feed answers
    """
    settings, close = run.settings.sentiment, timestamp + MINUTE_MS
    live = 0 <= clock.now_ms() - close < ASK_WITHIN_MS and bool(settings.feeds or settings.x_query)
    if not settings.file and not live:
        return fallback(run, timestamp, OFF)
    head = run.artifacts.once("sentiment_export", None, _head)
    _score(run)
    counts: Counter[str] = Counter()
    if settings.file:
        seen = _from_file(run, timestamp)
        _store(run, seen)
        counts += seen.counts
    counted = run.workspace.read("sentiment_counts", last=1) if run.workspace.exists("sentiment_counts") else None
    if counted is not None and counted["timestamp"][-1] == timestamp and counted["status"][-1] == OK:
        counts = Counter({name: int(counted[name][-1]) for name in ("read", "kept", *DROPPED)})
    elif live:
        seen, marks = _from_feeds(run, close)
        _store(run, seen)
        _remember(run, marks)
        counts += seen.counts
    _score(run)
    posts = _posts(run, close - (settings.window + model.CHANGE_MINUTES) * MINUTE_MS)
    found = model.trajectories(head, posts, np.array([timestamp]), settings.window, settings.half_life)
    _show(run, head, posts, close)
    row = one_row(timestamp, trajectory=found.trajectory[0], volatility=found.volatility[0], status=OK)
    told = {name: counts[name] for name in ("read", "kept", *DROPPED)}
    return {TABLES[0]: row, TABLES[1]: one_row(timestamp, window=int(found.posts[0]), **told, status=OK)}


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """What "no evidence" reads like."""
    neutral = next(evidence.neutral for evidence in EVIDENCE if evidence.table == TABLES[0])
    return {TABLES[0]: one_row(timestamp, **neutral, status=why)}


def _from_file(run: Run, timestamp: int) -> _Seen:
    """The file's posts since the candle before, or at the beginning those that a later one may repeat."""
    close = timestamp + MINUTE_MS
    after = close - model.DEDUP_MS - 2 * run.settings.sentiment.window * MINUTE_MS
    if run.workspace.exists("sentiment_counts"):
        told = run.workspace.read("sentiment_counts", last=2)["timestamp"]
        after = max([after, *(told[told < timestamp] + MINUTE_MS).tolist()])
    file, stamps = _file(run, after)
    first, end = np.searchsorted(stamps, [after, close])
    first = max(first, end - model.DEDUP_POSTS)
    seen = _sift(run, file.posts[first:end], stamps[first:end].tolist(), None)
    seen.counts["unread"] += file.left_out
    return seen


def _file(run: Run, after: int) -> tuple[PostFile, np.ndarray]:
    """The file's posts from ``after`` on, and perhaps some before, with their stamps; read again only when it has changed,
    and then only what lies behind the place that the minute before has left."""
    path = Path(run.workspace.root) / run.settings.sentiment.file
    try:
        stat = path.stat()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    signature = (stat.st_mtime_ns, stat.st_size)
    kept: tuple[tuple[int, int], PostFile, np.ndarray] | None = run.state.get("m4b_file")
    place = _place(run)
    if kept is None or kept[0] != signature or kept[1].start.read_to > after:
        file = sources.read_file(path, place if place is not None and place.read_to <= after else None)
        stamps = np.array(model.strictly_later([post.published_ms or 0 for post in file.posts]), np.int64)
        kept = run.state["m4b_file"] = (signature, file, stamps)
    _, file, stamps = kept
    first = int(np.searchsorted(stamps, after))
    while first < len(stamps) and stamps[first] != file.posts[first].published_ms:
        first -= 1  # its stamp depends on the posts before it, which must be read again with it
    behind = file.older_than(min(after, int(stamps[first])) if first < len(stamps) else after)
    if behind.before and (place is None or place.offset != behind.offset):
        run.workspace.write("file_read", {name: np.array([value]) for name, value in vars(behind).items()})
    return file, stamps


def _place(run: Run) -> Place | None:
    """How far the file was read."""
    if not run.workspace.exists("file_read"):
        return None
    rows = run.workspace.read("file_read")
    return Place(*(rows[name][-1] for name in ("offset", "left_out", "before", "read_to")))


def _from_feeds(run: Run, close: int) -> tuple[_Seen, dict[str, Mark]]:
    """What the feeds and X list, stamped with the time at which we saw it, and how far each was read.

    Raises
    ------
    SourceError : none of them answers
    """
    settings = run.settings.sentiment
    asking = Asking(settings.timeout_s, settings.attempts, clock.sleep)
    asked: list[RssSource | XSource] = [RssSource(url, asking) for url in settings.feeds]
    if settings.x_query:
        asked.append(XSource(settings.x_query, settings.x_url, asking))
    turn = close // MINUTE_MS % max(1, len(asked))
    marks = _marks(run)
    posts: list[Post] = []
    failed: list[SourceError] = []
    began = time.monotonic()
    for source in asked[turn:] + asked[:turn]:
        mark = marks.get(source.id, Mark())
        try:
            if time.monotonic() - began > ASK_S:
                raise SourceError(f"{source.name} was not asked: the feeds before it took more than {ASK_S:g} s")
            if mark.not_before > clock.now_ms():
                raise SourceError(f"{source.name} was not asked: it got too many requests and wants to be left alone")
            found, marks[source.id] = source.posts(mark)
            posts += found
        except SourceError as error:
            failed.append(error)
            telemetry.log(run.workspace.root, f"m4b_sentiment: {error}")
            if isinstance(error, TryAgain) and error.retry_after_s:
                marks[source.id] = replace(mark, not_before=clock.now_ms() + int(1_000 * error.retry_after_s))
    if len(failed) == len(asked) and not settings.file:
        _remember(run, marks)
        raise failed[0]
    now = clock.now_ms()
    newest = run.workspace.newest("news_live") or 0
    room = max(0, now - max(close - 1, newest))
    seen = _sift(run, posts, None, now)
    over = max(0, len(seen.texts) - room)
    if over:
        # No stamp may lie in the future: what finds no free millisecond is read again next time.
        seen.counts.update(kept=-over, unread=over)
        marks = _marks(run)
    kept = len(seen.texts) - over
    stamps = list(range(now - kept + 1, now + 1))
    return _Seen(stamps, seen.sources[:kept], seen.texts[:kept], seen.counts), marks


def _sift(run: Run, posts: list[Post], stamps: list[int] | None, now: int | None) -> _Seen:
    """Clean the posts and drop what is empty, not English, spam, stale or said already; ``stamps`` None: seen ``now``."""
    settings = run.settings.sentiment
    counts: Counter[str] = Counter(read=len(posts))
    kept: list[tuple[int, str, str, str]] = []
    for i, post in enumerate(posts):
        clean = text.clean(post.text)
        fault = text.fault(clean)
        stale = now is not None and post.published_ms is not None and now - post.published_ms > settings.max_age * MINUTE_MS
        if not fault and post.language[:3].split("-")[0] not in ENGLISH:
            fault = "language"
        if fault or stale:
            counts[fault or "stale"] += 1
        else:
            stamp = stamps[i] if stamps is not None else now or 0
            kept.append((stamp, text.clean(post.source)[:80], clean, model.key_of(clean)))
    before = _keys(run, kept[0][0] if stamps is not None and kept else None)
    first = model.first_said([row[0] for row in kept], [row[3] for row in kept], before)
    counts["duplicate"] += int((~first).sum())
    rows = [row for row, new in zip(kept, first, strict=True) if new]
    counts["kept"] += len(rows)
    return _Seen([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], counts)


def _newest(run: Run, name: str, since: int) -> Columns:
    """The newest rows of a table of posts, at least those from a stamp on; few are parsed where few are needed."""
    rows = run.workspace.read(name, last=LIVE)
    return run.workspace.read(name) if len(rows["timestamp"]) == LIVE and rows["timestamp"][0] > since else rows


def _keys(run: Run, before: int | None) -> list[tuple[int, str]]:
    """Stamp and key of the posts that were kept, by time; those from ``before`` on left out, for they are read anew."""
    if not run.workspace.exists("post_scores"):
        return []
    rows = _newest(run, "post_scores", before - model.DEDUP_MS if before is not None else clock.now_ms())
    here = rows["timestamp"] < (before if before is not None else np.inf)
    return list(zip(rows["timestamp"][here].tolist(), rows["key"][here].tolist(), strict=True))


def _store(run: Run, seen: _Seen) -> None:
    if seen.stamps:
        columns = {
            "timestamp": np.array(seen.stamps, np.int64),
            "source": np.array(seen.sources, object),
            "text": np.array(seen.texts, object),
            "status": np.full(len(seen.stamps), OK, object),
        }
        run.workspace.append("news_live", columns)


def _score(run: Run) -> None:
    """Score the posts that have no score yet. Where there are none, neither tokenizer nor encoder is loaded."""
    if not run.workspace.exists("news_live"):
        return
    scored = np.zeros(0, int)
    if run.workspace.exists("post_scores"):
        scored = run.workspace.read("post_scores", last=LIVE)["timestamp"]
    rows = _newest(run, "news_live", int(scored[-1]) if len(scored) else 0)
    oldest = scored[0] if len(scored) else 0
    fresh = np.flatnonzero(~np.isin(rows["timestamp"], scored) & (rows["timestamp"] >= oldest))
    if not len(fresh):
        return
    # Cleaned again: a table writes a quotation mark before what a spreadsheet would run.
    texts = [text.clean(rows["text"][i]) for i in fresh]
    scores = _encoder(run).scores(texts, [str(rows["source"][i]) for i in fresh])
    columns = {
        "timestamp": rows["timestamp"][fresh],
        "source": rows["source"][fresh],
        "key": np.array([model.key_of(clean) for clean in texts], object),
        **{name: scores[:, i] for i, name in enumerate(("p_negative", "p_neutral", "p_positive"))},
        "status": np.full(len(fresh), OK, object),
    }
    run.workspace.append("post_scores", columns)


def _encoder(run: Run) -> "PostEncoder":
    """The encoder, loaded once a process."""
    from modules.m4b_sentiment.encoder import PostEncoder

    key = run.artifacts.entry("sentiment_encoder")["sha256"]
    if run.state.get("m4b_encoder", ("", None))[0] != key:
        onnx, tokenizer = run.artifacts.load("sentiment_encoder"), run.artifacts.load("sentiment_tokenizer")
        content = json.loads(run.artifacts.load("sentiment_export"))
        run.state["m4b_encoder"] = (key, PostEncoder(onnx, tokenizer, content))
    return run.state["m4b_encoder"][1]


def _head(export: bytes) -> model.Head:
    return model.Head.of(json.loads(export)["head"])


def _posts(run: Run, since: int) -> model.Posts:
    """The scored posts, at least those from a stamp on."""
    if not run.workspace.exists("post_scores"):
        return model.Posts(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, object))
    rows = _newest(run, "post_scores", since)
    scores = np.stack([rows[name] for name in ("p_negative", "p_neutral", "p_positive")], 1)
    return model.Posts(rows["timestamp"], scores, rows["source"])


def _show(run: Run, head: model.Head, posts: model.Posts, close: int) -> None:
    """Write which posts moved the trajectory, and by how much."""
    settings = run.settings.sentiment
    chosen, attention, moved = model.attention_at(head, posts, close, settings.window, settings.half_life)
    stamps = posts.stamps[chosen]
    rows = _newest(run, "news_live", int(stamps[0])) if len(chosen) else {"timestamp": stamps, "text": np.zeros(0, object)}
    texts = dict(zip(rows["timestamp"].tolist(), rows["text"].tolist(), strict=True))
    columns = {
        "timestamp": stamps,
        "source": posts.sources[chosen],
        "text": np.array([texts.get(stamp, "") for stamp in stamps.tolist()], object),
        "score": posts.signed[chosen],
        "attention": attention,
        "moved": moved,
    }
    run.workspace.write("sentiment_attention", columns)


def _marks(run: Run) -> dict[str, Mark]:
    if not run.workspace.exists("news_marks"):
        return {}
    rows = run.workspace.read("news_marks")
    told = zip(*(rows[name].tolist() for name in MARKS), strict=True)
    return {feed: Mark(*(text.removeprefix("'") for text in texts[:3]), *texts[3:]) for feed, *texts in told}


def _remember(run: Run, marks: dict[str, Mark]) -> None:
    if marks != _marks(run):
        rows = [(feed, *astuple(mark)) for feed, mark in marks.items()]
        run.workspace.write("news_marks", from_rows(CATALOG["news_marks"].columns, rows))


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
