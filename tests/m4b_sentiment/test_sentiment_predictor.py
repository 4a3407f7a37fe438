"""The live minute: what is on disk is what the history says, from files and from feeds, whatever strangers write."""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from werkzeug import Response

from modules.core import clock
from modules.core.module import REPOSITORY, Run, run_predictor
from modules.core.settings import load_settings
from modules.core.words import MINUTE_MS
from modules.m4b_sentiment import encoder, model, predictor, sources

SECRET = "AAAAsecret-token-of-the-user"
LATER = 10 * 365 * 86_400_000


def everything(root):
    return {path: path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file() and path.name != "pipeline.log"}


def row(run, table="sentiment_trajectories"):
    columns = run.workspace.read(table, last=1)
    return {name: values[-1] for name, values in columns.items()}


def feed_of(*titles, date="Mon, 01 Jan 2024 00:00:00 GMT"):
    items = "".join(f"<item><title><![CDATA[{title}]]></title><pubDate>{date}</pubDate></item>" for title in titles)
    return f"<rss version='2.0'><channel><title>n</title>{items}</channel></rss>"


def test_without_a_source_it_is_off(tmp_path):
    run = Run.open(tmp_path, load_settings())
    outcome = run_predictor(predictor, run, 1_704_067_200_000)
    assert outcome.status == "off"
    assert not outcome.fell_back
    assert row(run)["trajectory"] == row(run)["volatility"] == 0


# A file


def test_the_live_rows_are_the_rows_of_the_history(opened, stamps):
    run = opened(stamps[-1] + LATER)
    history = run.workspace.read("sentiment_history")
    for stamp in stamps[9_000:9_200]:
        assert run_predictor(predictor, run, int(stamp)).status == "ok"
    found, wanted = run.workspace.read("sentiment_trajectories"), {k: v[9_000:9_200] for k, v in history.items()}
    assert (np.abs(found["trajectory"]) > 0).mean() > 0.3
    for name in ("timestamp", "trajectory", "volatility"):
        assert found[name].tolist() == wanted[name].tolist()


def test_cold_or_resident_twice_or_once_the_bytes_are_the_same(opened, stamps):
    run = opened(stamps[-1] + LATER)
    for stamp in stamps[9_000:9_030]:
        run_predictor(predictor, run, int(stamp))
    before = everything(run.workspace.root)
    run_predictor(predictor, run, int(stamps[9_029]))
    run_predictor(predictor, Run.open(run.workspace.root, run.settings), int(stamps[9_029]))
    assert everything(run.workspace.root) == before


def test_a_minute_without_news_loads_no_encoder(opened, stamps, monkeypatch):
    run = opened(stamps[-1] + LATER)
    last = 9_000
    run_predictor(predictor, run, int(stamps[last]))
    monkeypatch.setattr(encoder, "PostEncoder", lambda *_: pytest.fail("the encoder was loaded"))
    posts = run.workspace.read("post_scores")["timestamp"]
    quiet = Run.open(run.workspace.root, run.settings)
    (run.workspace.root / run.settings.sentiment.file).write_text("timestamp,source,text\n")
    for stamp in stamps[last + 1 : last + 5]:
        assert run_predictor(predictor, quiet, int(stamp)).status == "ok"
    assert quiet.workspace.read("post_scores")["timestamp"].tolist() == posts.tolist()


def test_what_comes_later_changes_no_row(opened, stamps):
    run = opened(stamps[-1] + LATER)
    path = run.workspace.root / run.settings.sentiment.file
    lines = path.read_text().splitlines()
    stamp = int(stamps[9_100])
    known = [line for line in lines[1:] if int(line.split(",")[0]) < stamp + MINUTE_MS]
    run_predictor(predictor, run, stamp)
    before = everything(run.workspace.root)
    del before[path]
    other = Run.open(run.workspace.root, run.settings)
    for table in ("news_live", "post_scores", "sentiment_trajectories", "sentiment_counts"):
        other.workspace.path(table).unlink()
    path.write_text("\n".join([lines[0], *known]) + "\n")
    run_predictor(predictor, other, stamp)
    after = everything(run.workspace.root)
    del after[path]
    assert after == before


def killed(*_):
    raise KeyboardInterrupt


def test_a_file_that_grows_is_read_where_it_grew_and_says_the_same_as_read_whole(opened, stamps, tmp_path, monkeypatch):
    run = opened(stamps[-1] + LATER)
    path = run.workspace.root / run.settings.sentiment.file
    lines = path.read_text().splitlines()
    # Many posts of one millisecond, the last of a minute: some of them are told a minute later.
    crowd = int(stamps[9_103]) + MINUTE_MS - 3
    lines += [f"{crowd},wire,Bitcoin rallies for the {i}th time" for i in range(9)] + ["no stamp", ",wire,None at all"]
    at = sorted(lines[1:], key=lambda line: int(line.split(",")[0]) if line[:1].isdigit() else int(stamps[9_101]))
    path.unlink()
    other = Run.open(shutil.copytree(run.workspace.root, tmp_path / "whole"), run.settings)
    for stamp in stamps[9_100:9_112].tolist():
        close = stamp + MINUTE_MS
        grown = [line for line in at if not line[:1].isdigit() or int(line.split(",")[0]) < close]
        for each in (run, other):
            (each.workspace.root / each.settings.sentiment.file).write_text("\n".join([lines[0], *grown]) + "\n")
        other.workspace.path("file_read").unlink(missing_ok=True)
        with monkeypatch.context() as patch:  # killed once it knows how far it has read
            patch.setattr(predictor, "_store", killed)
            with pytest.raises(KeyboardInterrupt):
                run_predictor(predictor, Run.open(run.workspace.root, run.settings), stamp)
        for each in (run, other):
            cold = Run.open(each.workspace.root, each.settings)
            assert run_predictor(predictor, cold, stamp).status == "ok"
        rows = len(cold.state["m4b_file"][1].stamps)
    for table in ("news_live", "post_scores", "sentiment_trajectories", "sentiment_counts"):
        assert run.workspace.path(table).read_bytes() == other.workspace.path(table).read_bytes(), table
    assert rows > 100
    last = Run.open(run.workspace.root, run.settings)
    assert run_predictor(predictor, last, int(stamps[9_112])).status == "ok"
    assert len(last.state["m4b_file"][1].stamps) < 5
    assert row(run, "sentiment_counts")["unread"] == 2


def test_which_posts_moved_it_is_on_disk(opened, stamps):
    run = opened(stamps[-1] + LATER)
    run_predictor(predictor, run, int(stamps[9_100]))
    shown = run.workspace.read("sentiment_attention")
    assert len(shown["text"]) == row(run, "sentiment_counts")["window"] > 0
    assert shown["attention"].sum() == pytest.approx(1, abs=1e-5)
    assert shown["moved"].sum() == pytest.approx(row(run)["trajectory"], abs=1e-5)
    assert all(shown["text"])


def test_a_missing_file_and_a_damaged_model_fall_back_by_name(opened, stamps):
    run = opened(stamps[-1] + LATER, file="data/news/absent.csv")
    assert "absent.csv: cannot be read" in run_predictor(predictor, run, int(stamps[10])).status
    assert row(run)["trajectory"] == row(run)["volatility"] == 0
    run = opened(stamps[-1] + LATER)
    (run.workspace.root / "models/sentiment.json").write_text("{}")
    assert "sentiment.json: is not the file" in run_predictor(predictor, run, int(stamps[10])).status


# Feeds

feedparser = pytest.importorskip("feedparser", reason="feedparser is not installed: the feeds cannot be read")
TITLE = "Regulator sues Atlas Pay over unregistered bitcoin products"


def test_a_post_is_stamped_when_seen_and_speaks_a_minute_later(opened, stamps, httpserver):
    stamp = int(stamps[-1])
    run = opened(stamp + MINUTE_MS + 2_000, feeds=[httpserver.url_for("/rss")], file="")
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(stamp / 1000))
    httpserver.expect_request("/rss").respond_with_data(feed_of(TITLE, date=date), headers={"ETag": '"=1"'})
    assert run_predictor(predictor, run, stamp).status == "ok"
    posts = run.workspace.read("news_live")
    assert posts["timestamp"].tolist() == [stamp + MINUTE_MS + 2_000]
    assert row(run)["trajectory"] == 0
    opened(stamp + 2 * MINUTE_MS + 2_000)
    assert run_predictor(predictor, run, stamp + MINUTE_MS).status == "ok"
    assert row(run)["trajectory"] < -0.3
    assert row(run, "sentiment_counts")["duplicate"] == 1
    assert httpserver.log[-1][0].headers["If-None-Match"] == '"=1"'
    assert len(run.workspace.read("news_live")["timestamp"]) == 1


def test_a_cycle_run_again_asks_nobody_and_changes_nothing(opened, stamps, httpserver):
    httpserver.expect_request("/rss").respond_with_data(feed_of(TITLE, date=""))
    stamp = int(stamps[-1])
    run = opened(stamp + MINUTE_MS + 2_000, feeds=[httpserver.url_for("/rss")], file="")
    run_predictor(predictor, run, stamp)
    asked, before = len(httpserver.log), everything(run.workspace.root)
    run_predictor(predictor, Run.open(run.workspace.root, run.settings), stamp)
    assert len(httpserver.log) == asked
    assert everything(run.workspace.root) == before


def test_hostile_posts_break_no_table(opened, stamps, httpserver):
    titles = [f'{start}HYPERLINK("http://evil","bitcoin falls") {start!r}' for start in ("=", "+", "-", "@", "\t=")]
    titles += ["<script>alert(1)</script>Bitcoin falls again", "\u202eBitcoin \u200bfalls today", "Bitcoin " + "falls " * 100_000]
    titles += ["Bitcoin falls here"] * 50 + ['Bitcoin, "falls"\nin two lines', "Der Kurs fällt und die Anleger sind nicht froh"]
    httpserver.expect_request("/rss").respond_with_data(feed_of(*titles, date=""))
    stamp = int(stamps[-1])
    run = opened(stamp + MINUTE_MS + 2_000, feeds=[httpserver.url_for("/rss")], file="")
    assert run_predictor(predictor, run, stamp).status == "ok"
    cells = run.workspace.read("news_live")["text"]
    assert len(cells) >= 6
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert not any("script" in cell for cell in cells)
    counts = row(run, "sentiment_counts")
    assert counts["read"] == sum(counts[name] for name in ("kept", *predictor.DROPPED)) == len(titles)
    assert counts["duplicate"] >= 49
    assert counts["language"] == 1
    again = Run.open(run.workspace.root, run.settings)
    assert all(len(values) for values in again.workspace.read("post_scores").values())


@pytest.mark.parametrize(
    ("date", "kept"), [("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Thu, 31 Dec 2099 00:00:00 GMT", 1), ("soon", 1)]
)
def test_stamps_of_1970_and_2099(opened, stamps, httpserver, date, kept):
    httpserver.expect_request("/rss").respond_with_data(feed_of(TITLE, date=date))
    at = int(stamps[-1]) + MINUTE_MS + 2_000
    run = opened(at, feeds=[httpserver.url_for("/rss")], file="")
    run_predictor(predictor, run, int(stamps[-1]))
    counts = row(run, "sentiment_counts")
    assert (counts["kept"], counts["stale"]) == (kept, 1 - kept)
    if kept:
        assert run.workspace.read("news_live")["timestamp"].max() <= at


def test_no_stamp_lies_in_the_future_and_what_finds_no_room_comes_later(opened, stamps, httpserver):
    titles = [f"Bitcoin falls because of reason {word}" for word in "abcdefghij"]
    httpserver.expect_request("/rss").respond_with_data(feed_of(*titles, date=""), headers={"ETag": '"1"'})
    stamp = int(stamps[-1])
    run = opened(stamp + MINUTE_MS + 3, feeds=[httpserver.url_for("/rss")], file="")
    run_predictor(predictor, run, stamp)
    assert run.workspace.read("news_live")["timestamp"].max() == stamp + MINUTE_MS + 3
    assert row(run, "sentiment_counts")["unread"] == 6
    opened(stamp + 2 * MINUTE_MS + 500)
    run_predictor(predictor, run, stamp + MINUTE_MS)
    assert "If-None-Match" not in httpserver.log[-1][0].headers
    assert len(run.workspace.read("news_live")["timestamp"]) == 10


def test_one_feed_down_is_logged_and_all_down_is_a_fallback(opened, stamps, httpserver):
    httpserver.expect_request("/rss").respond_with_data(feed_of(TITLE, date=""))
    httpserver.expect_request("/down").respond_with_data("", status=503)
    stamp = int(stamps[-1])
    both = [httpserver.url_for("/down?key=private"), httpserver.url_for("/rss")]
    run = opened(stamp + MINUTE_MS + 2_000, feeds=both, file="")
    assert run_predictor(predictor, run, stamp).status == "ok"
    assert "HTTP 503" in (run.workspace.root / "logs/pipeline.log").read_text()
    run = opened(stamp + 2 * MINUTE_MS + 2_000, feeds=both[:1], file="")
    outcome = run_predictor(predictor, run, stamp + MINUTE_MS)
    assert outcome.fell_back
    assert row(run)["trajectory"] == row(run)["volatility"] == 0
    assert all(b"private" not in data for data in everything(run.workspace.root).values())
    assert "private" not in (run.workspace.root / "logs/pipeline.log").read_text()


def test_feeds_that_take_too_long_together_wait_for_the_next_minute(opened, stamps, httpserver, monkeypatch):
    monkeypatch.setattr(predictor, "ASK_S", -1.0)
    run = opened(int(stamps[-1]) + MINUTE_MS + 2_000, feeds=[httpserver.url_for("/rss")], file="")
    assert "was not asked" in run_predictor(predictor, run, int(stamps[-1])).status
    assert httpserver.log == []


@pytest.mark.parametrize("asks", ["120", "two minutes from now as a date"])
def test_a_feed_that_wants_to_be_left_alone_is(opened, stamps, httpserver, asks):
    close = int(stamps[-1]) + MINUTE_MS

    def refuse(_request):
        end = datetime.fromtimestamp(clock.now_ms() / 1_000 + 120, UTC)
        return Response("", 429, headers={"Retry-After": asks if asks.isdecimal() else format_datetime(end, usegmt=True)})

    httpserver.expect_request("/rss").respond_with_handler(refuse)
    said = []
    for minute in range(4):
        run = opened(close + minute * MINUTE_MS + 2_000, feeds=[httpserver.url_for("/rss")], file="")
        said.append(run_predictor(predictor, run, int(stamps[-1]) + minute * MINUTE_MS).status)
    assert ["wants to be left alone" in status for status in said] == [False, True, False, True]
    assert len(httpserver.log) == 2


def test_each_minute_begins_with_another_feed(opened, stamps, httpserver, monkeypatch):
    monkeypatch.setattr(predictor, "ASK_S", 0.1)
    asked = []

    def slow(request):
        asked.append(request.path)
        time.sleep(0.2)
        return Response("", 503)

    feeds = [f"/{name}" for name in "abc"]
    for path in feeds:
        httpserver.expect_request(path).respond_with_handler(slow)
    for minute in range(3):
        timestamp = int(stamps[-1]) + minute * MINUTE_MS
        run = opened(timestamp + MINUTE_MS + 2_000, feeds=[httpserver.url_for(path) for path in feeds], file="")
        run_predictor(predictor, run, timestamp)
    assert sorted(asked) == feeds


def test_a_flood_of_one_source_washes_no_other_out_of_the_window(opened, stamps, httpserver):
    close = int(stamps[-1]) + MINUTE_MS
    run = opened(close + 2_000, feeds=[httpserver.url_for("/rss")], file="")
    httpserver.expect_request("/rss").respond_with_data("<rss version='2.0'><channel/></rss>")
    times = np.array([close - 55 * MINUTE_MS, *(close - 5_000 * 600 + 600 * np.arange(5_000))])
    sources_ = np.array(["coindesk", *["x"] * 5_000], object)
    ok = np.full(len(times), "ok", object)
    texts = np.array([f"post {i}" for i in range(len(times))], object)
    run.workspace.append("news_live", {"timestamp": times, "source": sources_, "text": texts, "status": ok})
    shares = {f"p_{name}": np.full(len(times), 1 / 3) for name in ("negative", "neutral", "positive")}
    run.workspace.append("post_scores", {"timestamp": times, "source": sources_, "key": texts, **shares, "status": ok})
    assert run_predictor(predictor, run, int(stamps[-1])).status == "ok"
    shown = run.workspace.read("sentiment_attention")
    assert shown["source"].tolist() == ["coindesk", *["x"] * model.SOURCE_POSTS]
    assert shown["text"][0] == "post 0"


def test_the_token_is_in_no_file(opened, stamps, httpserver, monkeypatch):
    monkeypatch.setenv(sources.TOKEN, SECRET)
    answer = Response(json.dumps({"detail": f"bad token {SECRET}"}), 401)
    httpserver.expect_request("/2/tweets/search/recent").respond_with_handler(lambda _: answer)
    run = opened(int(stamps[-1]) + MINUTE_MS + 2_000, x_query="bitcoin", x_url=httpserver.url_for("/"), file="")
    assert run_predictor(predictor, run, int(stamps[-1])).fell_back
    for path in Path(run.workspace.root).rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_a_replay_asks_no_feed(opened, stamps, httpserver):
    run = opened(int(stamps[-1]) + LATER, feeds=[httpserver.url_for("/rss")], file="")
    assert run_predictor(predictor, run, int(stamps[-1])).status == "off"
    assert httpserver.log == []


# How fast


def test_fifty_posts_in_three_hundred_milliseconds(opened, planted):
    run = opened(0)
    texts = [str(words) for words in planted.news["text"][:50]]
    spans = []
    for _ in range(5):
        run.state.clear()
        began = time.perf_counter()
        predictor._encoder(run).scores(texts, ["wire"] * 50)
        spans.append(time.perf_counter() - began)
    assert min(spans) < 0.3


COLD = """\
import sys, time
from modules.core.module import Run, run_predictor
from modules.core.settings import load_settings
from modules.m4b_sentiment import predictor
from pathlib import Path
run = Run.open(Path(sys.argv[1]), load_settings(None, {"sentiment": {"file": sys.argv[2]}}))
print(run_predictor(predictor, run, int(sys.argv[3])).status)
heavy = ("torch", "transformers", "sklearn", "scipy", "pandas", "onnx", "feedparser", "requests")
print([name for name in heavy if name in sys.modules])
"""


def test_a_cold_start_takes_six_tenths_of_a_second_and_brings_no_training_library(workspace, stamps):
    spans = []
    for stamp in stamps[9_100:9_106]:
        began = time.perf_counter()
        arguments = [sys.executable, "-c", COLD, str(workspace), "data/news/posts.csv", str(stamp)]
        said = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout
        spans.append(time.perf_counter() - began)
        assert said.splitlines() == ["ok", "[]"]
    assert min(spans) < 0.6


def test_keys_are_those_of_the_model():
    assert model.key_of("Bitcoin FALLS!") == model.key_of("bitcoin falls")
