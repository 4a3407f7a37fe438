"""Feeds, X and files: real samples and hostile answers, from a real server on loopback."""

import gzip
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug import Request, Response

from modules.core.errors import SourceError
from modules.core.retry import TryAgain
from modules.m4b_sentiment import sources
from modules.m4b_sentiment.sources import Asking, Mark, RssSource, XSource

feedparser = pytest.importorskip("feedparser", reason="feedparser is not installed: the feeds cannot be read")

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "samples"
SECRET = "AAAAsecret-token-of-the-user"
ITEM = "<item><title>{}</title><pubDate>Fri, 25 Sep 2026 14:41:53 +0000</pubDate></item>"


def rss(*items, head='<?xml version="1.0" encoding="UTF-8"?>'):
    return f'{head}<rss version="2.0"><channel><title>News</title>{"".join(items)}</channel></rss>'


@pytest.fixture
def waits():
    return []


@pytest.fixture
def asking(waits):
    return Asking(timeout_s=0.4, attempts=3, sleep=waits.append)


@pytest.fixture
def feed(httpserver, asking):
    return RssSource(httpserver.url_for("/rss?key=private"), asking)


@pytest.fixture
def x(httpserver, asking, monkeypatch):
    monkeypatch.setenv(sources.TOKEN, SECRET)
    return XSource("bitcoin lang:en", httpserver.url_for("/"), asking)


def answers(httpserver, *responses):
    """Give the responses one after the other, then the last for ever; the requests are kept."""
    left, seen = list(responses), []

    def handler(request: Request) -> Response:
        seen.append(request)
        response = left.pop(0) if len(left) > 1 else left[0]
        return Response(response, content_type="application/xml") if isinstance(response, str | bytes) else response

    httpserver.expect_request("/rss").respond_with_handler(handler)
    httpserver.expect_request("/2/tweets/search/recent").respond_with_handler(handler)
    return seen


def refused(source):
    with pytest.raises(SourceError) as caught:
        source.posts(Mark())
    assert SECRET not in str(caught.value)
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def sample(*names):
    path = SAMPLES.joinpath(*names)
    if not path.is_file():
        pytest.skip("the shared samples are not beside the repository")
    return path


# RSS and Atom


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("coindesk_2026-09-25.xml", 3, "Circle and Tether step in to freeze hacker wallet after massive Bitget crypto heist"),
        ("cointelegraph_2026-08-28.xml", 2, "Here's what happened in crypto today"),
    ],
)
def test_real_feeds(httpserver, feed, name, count, first):
    answers(httpserver, sample("rss", name).read_bytes())
    posts, _ = feed.posts(Mark())
    assert len(posts) == count
    assert posts[0].text == first
    assert posts[0].source == "localhost"
    assert all(post.published_ms > 1_780_000_000_000 for post in posts)


def test_atom(httpserver, feed):
    answers(
        httpserver,
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><entry><title type="html">Bitcoin &lt;b&gt;falls'
        "&lt;/b&gt;</title><updated>2026-09-25T14:41:53Z</updated></entry></feed>",
    )
    posts, _ = feed.posts(Mark())
    assert [(post.text, post.published_ms) for post in posts] == [("Bitcoin <b>falls</b>", 1_790_347_313_000)]


def test_an_item_without_a_title_is_its_summary(httpserver, feed):
    answers(httpserver, rss("<item><description>Bitcoin falls</description></item>", "<item></item>"))
    assert [post.text for post in feed.posts(Mark())[0]] == ["Bitcoin falls", ""]


def test_an_unchanged_feed_is_not_read_again(httpserver, feed):
    fresh = Response(
        rss(ITEM.format("Bitcoin falls")), headers={"ETag": 'W/"a1"', "Last-Modified": "Fri, 25 Sep 2026 14:41:53 GMT"}
    )
    seen = answers(httpserver, fresh, Response(status=304))
    posts, mark = feed.posts(Mark())
    assert len(posts) == 1
    assert mark == Mark('W/"a1"', "Fri, 25 Sep 2026 14:41:53 GMT")
    assert feed.posts(mark) == ([], mark)
    assert seen[1].headers["If-None-Match"] == 'W/"a1"'
    assert seen[1].headers["If-Modified-Since"] == "Fri, 25 Sep 2026 14:41:53 GMT"


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_an_entity_bomb_never_reaches_the_parser(httpserver, feed, monkeypatch, encoding):
    monkeypatch.setattr(feedparser, "parse", lambda *_, **__: pytest.fail("the parser saw it"))
    bomb = rss(ITEM.format("&b;"), head=f'<?xml version="1.0" encoding="{encoding}"?>{BOMB}')
    answers(httpserver, bomb.encode(encoding))
    assert "declares entities" in refused(feed)


def test_an_outside_entity_is_not_fetched(httpserver, feed):
    answers(httpserver, rss(ITEM.format("&b;"), head='<!DOCTYPE x [ <!ENTITY b SYSTEM "file:///etc/passwd"> ]>'))
    assert "declares entities" in refused(feed)


def test_a_feed_is_never_taken_for_an_address_or_a_file(httpserver, feed, tmp_path):
    (tmp_path / "secret.xml").write_text(rss(ITEM.format("secret")))
    answers(httpserver, str(tmp_path / "secret.xml"))
    assert "no RSS or Atom feed" in refused(feed)
    answers(httpserver, httpserver.url_for("/rss"))
    assert "no RSS or Atom feed" in refused(feed)


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("iso-8859-1", "iso-8859-1"), ("windows-1252", "windows-1252"), ("utf-16", "utf-16"), ("utf-8", "utf-8"), ("utf-8", "zlib")],
)
def test_encodings(httpserver, feed, encoding, declared):
    answers(
        httpserver, rss(ITEM.format("Bitcoin übersteht"), head=f'<?xml version="1.0" encoding="{declared}"?>').encode(encoding)
    )
    assert feed.posts(Mark())[0][0].text == "Bitcoin übersteht"


def test_a_wrong_encoding_loses_a_letter_and_no_more(httpserver, feed):
    answers(httpserver, rss(ITEM.format("Bitcoin ü falls")).encode("latin-1"))
    assert feed.posts(Mark())[0][0].text == "Bitcoin \ufffd falls"


@pytest.mark.parametrize("stamp", ["Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 31 Dec 2099 00:00:00 GMT", "yesterday", "", "9" * 500])
def test_odd_stamps_do_no_harm(httpserver, feed, stamp):
    answers(httpserver, rss(f"<item><title>Bitcoin falls</title><pubDate>{stamp}</pubDate></item>"))
    assert feed.posts(Mark())[0][0].text == "Bitcoin falls"


def test_ten_thousand_items_are_cut(httpserver, feed):
    answers(httpserver, rss(*[ITEM.format("Bitcoin falls")] * 10_000))
    assert len(feed.posts(Mark())[0]) == sources.MAX_POSTS


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00" * 999, b"<html><body>blocked</body></html>", b"{}", b"\xff\xfe\xff", b"<rss", b"</a>" * 100_000],
)
def test_what_is_no_feed_is_refused_in_words(httpserver, feed, body, waits):
    answers(httpserver, body)
    started = time.perf_counter()
    assert "no RSS or Atom feed" in refused(feed) or "cannot be read" in refused(feed)
    assert time.perf_counter() - started < 6


@pytest.mark.parametrize("piece", [b"<a>", b"<a ", b"<", b"<!--", b"<a b='c' ", b"<item a"])
def test_what_would_take_the_parser_minutes_never_reaches_it(httpserver, feed, monkeypatch, piece):
    monkeypatch.setattr(feedparser, "parse", lambda *_, **__: pytest.fail("the parser saw it"))
    answers(httpserver, b"<rss>" + piece * (1_000_000 // len(piece)))
    assert "too deep, too long or left open" in refused(feed)


def test_many_attributes_are_refused(httpserver, feed):
    answers(httpserver, b"<rss " + b"".join(b"a%d='x' " % i for i in range(50_000)) + b"></rss>")
    assert "too deep, too long or left open" in refused(feed)


def test_a_cut_feed_gives_what_arrived_and_is_asked_for_whole(httpserver, feed):
    whole = rss(ITEM.format("Bitcoin falls"), ITEM.format("Ether rises"))
    told = {"ETag": '"1"'}
    answers(httpserver, Response(whole[:-80], headers=told), Response(whole + "<!-- made by hand -->\n", headers=told))
    posts, mark = feed.posts(Mark())
    assert posts[0].text == "Bitcoin falls"
    assert mark == Mark()
    assert feed.posts(mark)[1] == Mark(etag='"1"')


def test_too_many_requests_and_server_errors_are_tried_again(httpserver, feed, waits):
    slow_down = Response("", 429, headers={"Retry-After": "2"})
    answers(httpserver, slow_down, Response("", 503), rss(ITEM.format("Bitcoin falls")))
    assert len(feed.posts(Mark())[0]) == 1
    assert waits == [2.0, 1.0]


def test_a_long_wait_is_not_waited_for(httpserver, feed, waits):
    answers(httpserver, Response("", 429, headers={"Retry-After": "3600"}))
    assert "too many requests" in refused(feed)
    assert waits == []


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (401, 1), (500, 3)])
def test_refusals(httpserver, feed, status, asked):
    seen = answers(httpserver, Response("no", status))
    assert f"HTTP {status}" in refused(feed)
    assert len(seen) == asked


def test_a_redirect_is_followed_but_not_in_circles(httpserver, feed):
    answers(httpserver, Response("", 302, headers={"Location": "/moved"}))
    httpserver.expect_request("/moved").respond_with_data(rss(ITEM.format("Bitcoin falls")))
    assert len(feed.posts(Mark())[0]) == 1
    httpserver.clear()
    answers(httpserver, Response("", 302, headers={"Location": "/rss"}))
    assert "cannot be asked" in refused(feed)


def served(chunks):
    """A bare server that writes the chunks of bytes as they come, whatever happens; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        with connection, suppress(OSError):
            connection.recv(65_536)
            for chunk in chunks():
                connection.sendall(chunk)

    def serve():
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/rss"


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"


def hundred_megabytes():
    yield OK + b"\r\n<rss><channel>"
    for _ in range(100):
        yield b"<item><title>Bitcoin falls</title></item>" * 25_000


BOMB_OF_ZIP = gzip.compress(b"<a>" * 10_000_000, 1)


def gzip_bomb():
    yield OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB_OF_ZIP) + BOMB_OF_ZIP


def drop_by_drop():
    yield OK + b"Content-Length: 1000\r\n\r\n"
    while True:
        yield b"<"
        time.sleep(0.05)


def cut_short():
    yield OK + b"Content-Length: 1000\r\n\r\n<rss>"


def silence():
    time.sleep(0.6)
    yield b""


AWAY = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n"


def headers_drop_by_drop():
    yield OK
    while True:
        yield b"X"
        time.sleep(0.05)


def redirects_drop_by_drop():
    yield AWAY + b"Content-Length: 1000\r\n\r\n"
    while True:
        yield b"<"
        time.sleep(0.05)


def redirects_with_a_hundred_megabytes():
    yield AWAY + b"\r\n"
    for _ in range(100):
        yield b"x" * (1 << 20)


def redirects_with_a_bomb():
    yield AWAY + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB_OF_ZIP) + BOMB_OF_ZIP


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        (hundred_megabytes, "more than 1 MiB"),
        (gzip_bomb, "more than 1 MiB"),
        (drop_by_drop, "did not answer within"),
        (cut_short, "broke off"),
        (silence, "did not answer within"),
        (headers_drop_by_drop, "did not answer within"),
        (redirects_drop_by_drop, "cannot be asked"),  # what a redirect says is never waited for
        (redirects_with_a_hundred_megabytes, "cannot be asked"),
        (redirects_with_a_bomb, "cannot be asked"),
    ],
)
def test_answers_that_never_end_well(asking, chunks, says):
    listener, url = served(chunks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with listener:
        assert says in refused(RssSource(url, Asking(asking.timeout_s, 1, asking.sleep)))
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_nobody_is_there(asking):
    assert "no connection" in refused(RssSource("http://127.0.0.1:9/rss?key=private", asking))


@pytest.mark.parametrize(
    "url", ["", "nonsense", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "http://user:private@127.0.0.1:9/"]
)
def test_an_address_that_is_none(asking, url):
    assert refused(RssSource(url, asking))


# X

NOW_MS = 1_790_347_313_000
NOW_ID = (NOW_MS - 1_288_834_974_657) << 22
"""The number of a post of that moment, as X gives them: https://docs.x.com/resources/fundamentals/x-ids."""


@pytest.fixture(autouse=True)
def moment(monkeypatch):
    monkeypatch.setattr(sources.clock, "now_ms", lambda: NOW_MS)


def tweet(identity, words, **more):
    return {"id": str(identity), "text": words, "created_at": "2026-09-25T14:41:53.000Z", "lang": "en"} | more


def found(*tweets):
    meta = {"result_count": len(tweets)} | ({"newest_id": max(t["id"] for t in tweets)} if tweets else {})
    return json.dumps(({"data": list(tweets)} if tweets else {}) | {"meta": meta})


def test_recent_search_asks_for_what_is_new(httpserver, x):
    seen = answers(
        httpserver,
        found(tweet(NOW_ID, "Bitcoin falls"), tweet(NOW_ID + 1, "RT @a: Bitcoin falls"), tweet(NOW_ID + 2, "Bitcoin rises")),
        found(),
    )
    posts, mark = x.posts(Mark())
    assert [(post.source, post.text, post.published_ms, post.language) for post in posts] == [
        ("x", "Bitcoin falls", 1_790_347_313_000, "en"),
        ("x", "Bitcoin rises", 1_790_347_313_000, "en"),
    ]
    assert mark == Mark(newest=str(NOW_ID + 2))
    assert x.posts(mark) == ([], mark)
    assert seen[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert seen[0].args["query"] == "bitcoin lang:en"
    assert "since_id" not in seen[0].args
    assert seen[1].args["since_id"] == str(NOW_ID + 2)


def test_a_mark_beyond_the_reach_of_recent_search_is_not_sent(httpserver, x, monkeypatch):
    monkeypatch.setattr(sources.clock, "now_ms", lambda: NOW_MS + 5 * 86_400_000)
    seen = answers(httpserver, found(), found())
    x.posts(Mark(newest=str(NOW_ID)))
    monkeypatch.setattr(sources.clock, "now_ms", lambda: NOW_MS + 7 * 86_400_000)
    x.posts(Mark(newest=str(NOW_ID)))
    assert [request.args.get("since_id") for request in seen] == [str(NOW_ID), None]


def test_a_real_answer_of_x(httpserver, x):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: the recorded answers cannot be read")
    recorded = yaml.safe_load(sample("x_api", "test_client_search_recent_tweets.yaml").read_text())
    body = gzip.decompress(recorded["interactions"][0]["response"]["body"]["string"])
    answers(httpserver, body)
    posts, mark = x.posts(Mark())
    assert posts
    assert mark.newest.isdecimal()
    assert all(post.published_ms is None for post in posts)


def test_no_token_no_request(httpserver, x, monkeypatch):
    seen = answers(httpserver, found())
    monkeypatch.delenv(sources.TOKEN)
    assert sources.TOKEN in refused(x)
    monkeypatch.setenv(sources.TOKEN, SECRET + "\nX-Evil: 1")
    assert "no token has" in refused(x)
    assert seen == []


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_the_token_is_in_no_error(httpserver, x, status):
    answers(httpserver, Response(json.dumps({"detail": f"bad token {SECRET}"}), status))
    assert f"HTTP {status}" in refused(x)


def test_the_token_goes_nowhere_else(httpserver, x):
    answers(httpserver, Response("", 302, headers={"Location": httpserver.url_for("/elsewhere")}))
    assert "HTTP 302" in refused(x)
    assert all(request.path != "/elsewhere" for request, _ in httpserver.log)


def test_x_names_the_end_of_its_limit(httpserver, x, waits, monkeypatch):
    monkeypatch.setattr(sources.clock, "now_ms", lambda: 1_000_000)
    answers(httpserver, Response("", 429, headers={"x-rate-limit-reset": "1002"}), found())
    x.posts(Mark())
    assert waits == [2.0]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"meta": 1}', '{"data": {}}', '{"data": [{"id": 1}], "meta": {}}', "[" * 100_000, "<html>"]
)
def test_an_odd_answer_of_x(httpserver, x, body):
    answers(httpserver, body)
    assert "something else than the JSON" in refused(x)


# Files


def test_a_file_by_time_with_its_faults_counted(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text('timestamp,source,text\n2000,b,Later\n1000,a,"Said, first"\n,a,No stamp\n5,a\nx,a,b\n-1,a,b\n3000,c,\n')
    file = sources.read_file(path)
    assert [(post.published_ms, post.source, post.text) for post in file.posts] == [
        (1_000, "a", "Said, first"),
        (2_000, "b", "Later"),
    ]
    assert file.left_out == 5


def test_a_hostile_file(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_bytes(b"timestamp,text\n1000,\xff\xfe\x00=cmd\n2000," + b"a" * 1_000_000 + b"\n")
    assert len(sources.read_file(path).posts) == 2
    path.write_bytes(b'timestamp,text\n1000,"' + b"a" * 3_000_000 + b"\n")
    with pytest.raises(SourceError, match="is no CSV"):
        sources.read_file(path)
    path.write_text("when,what\n")
    with pytest.raises(SourceError, match="lacks the column timestamp and text"):
        sources.read_file(path)
    with pytest.raises(SourceError, match="cannot be read"):
        sources.read_file(tmp_path / "absent.csv")


ROW = st.one_of(
    st.integers(1, 9).map(lambda stamp: f"{stamp}000,wire,Bitcoin falls again\n"),
    st.integers(1, 9).map(lambda stamp: f'{stamp}000,wire,"Said, on two\nlines"\r\n'),
    st.sampled_from([",wire,No stamp\n", "\n", "5\n", "x,wire,é\n"]),
)


@example(rows=[], cut=10, more=[], half=True)
@given(rows=st.lists(ROW, max_size=12), cut=st.integers(0, 10), more=st.lists(ROW, max_size=4), half=st.booleans())
def test_from_a_place_on_the_file_holds_what_is_not_older(tmp_path_factory, rows, cut, more, half):
    path = tmp_path_factory.mktemp("posts") / "posts.csv"
    path.write_text("timestamp,source,text\n" + "".join(rows) + "9500,wire,Half a ro" * half, newline="")
    place = sources.read_file(path).older_than(cut * 1_000)
    with path.open("a", newline="") as file:
        file.write("w\n" * half + "".join(more))
    whole, part = sources.read_file(path), sources.read_file(path, place)
    recent = [post for post in whole.posts if post.published_ms >= cut * 1_000]
    assert [post for post in part.posts if post.published_ms >= cut * 1_000] == recent
    assert part.left_out == whole.left_out
    assert len(part.stamps) == len(whole.stamps) - int((whole.ends <= place.offset).sum())


def test_a_file_that_shrank_or_was_replaced_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "posts.csv"
    rows = [f"{stamp}000,wire,Bitcoin falls for the {stamp}th time\n" for stamp in range(1, 10)]
    path.write_text("timestamp,source,text\n" + "".join(rows))
    place = sources.read_file(path).older_than(6_000)
    assert len(sources.read_file(path, place).posts) == 4
    for other in (rows[:4], [row.replace("falls", "rises") for row in rows], ["0" + row for row in rows]):
        path.write_text("timestamp,source,text\n" + "".join(other))
        assert len(sources.read_file(path, place).posts) == len(other)


def test_reading_a_file_brings_no_parser_of_feeds_and_no_http(tmp_path):
    (tmp_path / "posts.csv").write_text("timestamp,text\n1000,Bitcoin falls\n")
    code = (
        "import sys; from pathlib import Path; from modules.m4b_sentiment import sources;"
        "sources.read_file(Path(sys.argv[1])); print([m for m in ('requests', 'feedparser', 'torch') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "posts.csv")], capture_output=True, text=True, check=True, env=os.environ
    )
    assert run.stdout.strip() == "[]"


def test_a_name_of_a_feed_tells_no_secret():
    assert sources.host_of("https://user:pass@example.org:8/rss?key=1") == "example.org"
    assert "pass" not in sources.url_id("https://user:pass@example.org:8/rss?key=1")
    assert issubclass(TryAgain, SourceError)
