"""Where posts come from: RSS and Atom feeds, X's recent search, a CSV file. All of it is written by strangers.

Sources: https://www.rssboard.org/rss-specification, RFC 4287 (Atom), RFC 9110 (conditional requests),
https://docs.x.com/x-api/posts/search-recent-posts
"""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from modules.core import clock, http
from modules.core.errors import SourceError
from modules.core.retry import TryAgain, retried
from modules.core.words import DAY_MINUTES, MINUTE_MS

MAX_ANSWER_BYTES = 1 << 20
MAX_FILE_BYTES = 200 << 20
GUARD_BYTES = 256
NO_STAMP = -1
MAX_POSTS = 200
"""Of one answer, the first that it lists; feeds list the newest first."""
MAX_DEPTH = 100
"""Of a feed's tags within tags; the parser's time grows with the square of it."""
MAX_REDIRECTS = 3
MAX_WAIT_S = 2.0
"""Between two tries; a feed that asks for more is asked again in the next minute, so that none holds up the others."""
X_EPOCH_MS, X_ID_BITS = 1_288_834_974_657, 22
"""X's numbers of posts hold their time: milliseconds since this moment, above so many other bits."""
X_REACH_MS = 6 * DAY_MINUTES * MINUTE_MS
"""Recent search goes back seven days, and refuses a number that is older."""
TOKEN = "X_BEARER_TOKEN"
"""The environment variable that holds the bearer token for X. It is read when it is needed and kept nowhere."""

_ENCODINGS = re.compile(r"utf-?8|utf-?16(le|be)?|us-ascii|iso-8859-\d{1,2}|windows-125\d", re.I)
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")
_CDATA = re.compile(r"<!\[CDATA\[.*?(\]\]>|\Z)", re.S)
_TAG = re.compile(r"<(/?)[A-Za-z][^<>]*?(/?)>")
_LONG_TAG = re.compile(r"<[^<>]{8000}")
_END = re.compile(r"</(\w+:)?(rss|feed|RDF)\s*>\s*(<!--.*?-->\s*)*\Z", re.S)
_ENTITY = re.compile(r"<!\s*(ENTITY|ELEMENT|ATTLIST|NOTATION)|<!\s*DOCTYPE[^>]{0,2000}\[", re.I)


@dataclass(frozen=True)
class Post:
    """One post as its source gives it: the text is raw, the stamp (Unix ms) is the source's own claim, or None."""

    source: str
    text: str
    published_ms: int | None = None
    language: str = ""


@dataclass(frozen=True)
class Mark:
    """How far a source was read, so that the next request asks for what is new only, and until when (Unix ms) it wants to
    be left alone."""

    etag: str = ""
    modified: str = ""
    newest: str = ""
    not_before: int = 0


@dataclass(frozen=True)
class Place:
    """A place in a file of posts before which all is older than ``read_to`` (Unix ms): its offset in bytes, the rows left
    out before it, and a hash of the bytes just before it, so that a file that shrank or was replaced is known."""

    offset: int
    left_out: int = 0
    before: str = ""
    read_to: int = 0


@dataclass(frozen=True)
class PostFile:
    """What a file of posts holds beyond a place: the posts by time, and the number of rows left out of the whole file.

    stamps, ends : (R,) of each row that is whole, in the file's order: Unix ms (or ``NO_STAMP``), the byte at which it ends
    """

    path: Path
    start: Place
    posts: list[Post]
    left_out: int
    stamps: np.ndarray
    ends: np.ndarray

    def older_than(self, stamp: int) -> Place:
        """The place before which no row is of ``stamp`` or later."""
        later = self.stamps >= stamp
        count = int(later.argmax()) if later.any() else len(later)
        if not count:
            return self.start
        offset, left_out = int(self.ends[count - 1]), self.start.left_out + int((self.stamps[:count] == NO_STAMP).sum())
        with self.path.open("rb") as file:
            return Place(offset, left_out, _before(file, offset), stamp)


@dataclass(frozen=True)
class Asking:
    """How outside sources are asked: seconds to wait for an answer, tries, and how to wait between them."""

    timeout_s: float = 5.0
    attempts: int = 3
    sleep: Callable[[float], object] = clock.sleep


class RssSource:
    """An RSS or Atom feed. A feed that says that nothing changed (HTTP 304) costs no parsing.

    Entities are refused before any parser sees them, and the parser is given a stream of UTF-8 that we decoded: it
    never opens a file or an address by itself.
    """

    def __init__(self, url: str, asking: Asking):
        self.url, self.asking = url, asking
        self.name = host_of(url)
        self.id = url_id(url)

    def posts(self, mark: Mark) -> tuple[list[Post], Mark]:
        """What the feed lists, and the mark for the next time.

        Raises
        ------
        SourceError
        """
        asked = {"If-None-Match": mark.etag, "If-Modified-Since": mark.modified}
        headers = {name: value for name, value in asked.items() if value}

        def once() -> tuple[list[Post], Mark]:
            answer = _fetch(self.url, self.name, headers, {}, self.asking.timeout_s, MAX_REDIRECTS)
            if answer.status == 304:
                return [], mark
            posts = parse_feed(answer.body, answer.headers.get("Content-Type", ""), self.name)
            if not _END.search(_decoded(answer.body, answer.headers.get("Content-Type", ""))[-1_000:]):
                return posts, Mark()  # perhaps cut off: the rest must not hide behind "not modified"
            return posts, Mark(_one_line(answer.headers.get("ETag")), _one_line(answer.headers.get("Last-Modified")))

        return retried(once, self.asking.attempts, sleep=self.asking.sleep, max_delay_s=MAX_WAIT_S)


class XSource:
    """X's recent search, API v2: of each poll the newest hundred posts. Retweets are left out; their text is cut and stands
    in the original anyway."""

    def __init__(self, query: str, base_url: str, asking: Asking):
        self.query, self.url, self.asking = query, base_url.rstrip("/") + "/2/tweets/search/recent", asking
        self.name = "x"
        self.id = "x:" + url_id(query)

    def posts(self, mark: Mark) -> tuple[list[Post], Mark]:
        """Posts newer than the mark, and the next mark.

        Raises
        ------
        SourceError : also where the environment holds no token; no message ever holds the token
        """
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise SourceError(f"the environment variable {TOKEN} is not set: X is not asked")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise SourceError(f"the environment variable {TOKEN} holds characters that no token has: X is not asked")
        query = {"query": self.query, "max_results": "100", "tweet.fields": "created_at,lang"}
        if mark.newest.isdecimal() and (int(mark.newest) >> X_ID_BITS) + X_EPOCH_MS > clock.now_ms() - X_REACH_MS:
            query["since_id"] = mark.newest

        def once() -> tuple[list[Post], Mark]:
            headers = {"Authorization": f"Bearer {token}"}
            answer = _fetch(self.url, host_of(self.url), headers, query, self.asking.timeout_s, 0)
            return parse_search(answer.body, mark)

        return retried(once, self.asking.attempts, sleep=self.asking.sleep, max_delay_s=MAX_WAIT_S)


def parse_feed(body: bytes, content_type: str, name: str) -> list[Post]:
    """The posts of an RSS or Atom document, title by title, the feed's order kept.

    Raises
    ------
    SourceError : it declares entities, or is no feed at all
    """
    text = _decoded(body, content_type).replace("\x00", "")
    if _ENTITY.search(text):
        raise SourceError(f"{name} sent a feed that declares entities: refused unread")
    if _slow_to_parse(_CDATA.sub("", text)):
        raise SourceError(f"{name} sent a feed with tags too deep, too long or left open: refused unread")
    # Imported here: it costs 60 ms, and a cycle without feeds never needs it.
    import feedparser

    stream = io.BytesIO(_DECLARATION.sub("", text).encode("utf-8", "ignore"))
    try:
        # Neither cleaned nor completed by the parser: text.py does the one, and nobody follows the links.
        headers = {"content-type": "application/xml; charset=utf-8"}
        feed = feedparser.parse(stream, response_headers=headers, resolve_relative_uris=False, sanitize_html=False)
        entries, version = feed.entries[:MAX_POSTS], feed.get("version", "")
    except Exception as error:  # a parser of hostile text may fail in any way; the other sources go on
        raise SourceError(f"{name} sent a feed that cannot be read ({type(error).__name__})") from None
    if not entries and not version:
        raise TryAgain(f"{name} answered with something that is no RSS or Atom feed")
    posts = []
    for entry in entries:
        stamp = dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed")
        posts.append(Post(name, str(entry.get("title") or entry.get("summary", "")), _stamp(stamp)))
    return posts


def parse_search(body: bytes, mark: Mark) -> tuple[list[Post], Mark]:
    """The posts of an answer of X's recent search, and the mark of the newest.

    Raises
    ------
    TryAgain : it is not the JSON that X declares
    """
    try:
        answer = json.loads(body)
        rows = answer.get("data", [])
        newest = str(answer["meta"].get("newest_id", mark.newest))
        posts = [
            Post("x", row["text"], _iso_ms(row.get("created_at")), str(row.get("lang", "")))
            for row in rows[:MAX_POSTS]
            if not row["text"].startswith("RT @")
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TryAgain("X answered with something else than the JSON that it declares") from None
    return posts, Mark(newest=newest if newest.isdecimal() else mark.newest)


def read_file(path: Path, place: Place | None = None) -> PostFile:
    """The posts of a CSV file with the columns timestamp (Unix ms), text and perhaps source. The stamp is when the post
    was seen. A row without such a stamp or without a text is left out and counted.

    Parameters
    ----------
    place : what need not be read again; heeded where the file still has the bytes that were just before it

    Raises
    ------
    SourceError : the file cannot be read, is too large, or lacks a column
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SourceError(f"{path}: is larger than {MAX_FILE_BYTES >> 20} MiB; keep the newest rows only")
        with path.open("rb") as file:
            first = (file.readline(MAX_ANSWER_BYTES).splitlines(keepends=True) or [b""])[0]
            if place is None or _before(file, place.offset) != place.before:
                place = Place(len(first))
            file.seek(place.offset)
            lines = file.read().splitlines(keepends=True)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    end = place.offset

    def told() -> Iterator[str]:
        nonlocal end
        for line in lines:
            end += len(line)
            yield line.decode("utf-8", "replace").replace("\x00", "").rstrip("\r\n") + "\n"

    csv.field_size_limit(MAX_ANSWER_BYTES)
    rows = csv.reader(told())
    posts, stamps, ends = [], [], []
    try:
        header = next(csv.reader([first.decode("utf-8", "replace").replace("\x00", "")]), [])
        missing = [name for name in ("timestamp", "text") if name not in header]
        if missing:
            raise SourceError(f"{path}: lacks the column {' and '.join(missing)}; its first line must name them")
        when, what = header.index("timestamp"), header.index("text")
        who = header.index("source") if "source" in header else None
        for row in rows:
            stamp = _number_ms(row[when]) if len(row) == len(header) else None
            ends.append(end)
            if stamp is None or not row[what]:
                stamps.append(NO_STAMP)
            else:
                stamps.append(stamp)
                posts.append(Post(row[who][:80] if who is not None else "file", row[what], stamp))
    except csv.Error as error:
        raise SourceError(f"{path}: is no CSV ({error} near row {rows.line_num})") from None
    posts.sort(key=lambda post: post.published_ms or 0)
    # A last row without an end may be half written: what is behind a place never holds it.
    whole = len(ends) - (bool(lines) and not lines[-1].endswith((b"\r", b"\n")))
    told_of = (np.array(values[:whole], np.int64) for values in (stamps, ends))
    return PostFile(path, place, posts, place.left_out + stamps.count(NO_STAMP), *told_of)


def _before(file: BinaryIO, offset: int) -> str:
    """A hash of the bytes just before an offset; empty where the file does not reach it."""
    import hashlib

    start = max(0, offset - GUARD_BYTES)
    file.seek(start)
    found = file.read(offset - start)
    return hashlib.sha256(found).hexdigest() if len(found) == offset - start else ""


def host_of(url: str) -> str:
    """Who is asked, as tables and messages name it: without the path, the credentials and the keys of an address."""
    return http.host_of(url, "the feed")


def url_id(url: str) -> str:
    """A short name of an address that tells nothing of what may be secret in it."""
    import hashlib

    return f"{host_of(url)[:60]}:{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def _fetch(url: str, name: str, headers: dict[str, str], query: dict[str, str], timeout_s: float, redirects: int) -> http.Answer:
    """One request; "not modified" is a good answer to one that asked whether it was."""
    conditional = "If-None-Match" in headers or "If-Modified-Since" in headers
    return http.get(
        url,
        name,
        timeout_s,
        MAX_ANSWER_BYTES,
        query,
        {"User-Agent": "adaptive-btc-trader", **headers},
        good=(200, 304) if conditional else (200,),
        redirects=redirects,
        advice="check its address in the section [sentiment]",
    )


def _decoded(body: bytes, content_type: str) -> str:
    """A document as text: by its byte-order mark, its own declaration, the header's charset, else UTF-8; only plain
    text encodings are believed, and what does not decode is replaced."""
    for start, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if body.startswith(start):
            return body.decode(encoding, "replace")
    declared = _DECLARED.match(body[:400])
    charset = re.search(r"charset\s*=\s*[\"']?([\w.-]{1,40})", content_type, re.I)
    for name in (declared.group(1).decode() if declared else "", charset.group(1) if charset else "", "utf-8"):
        wide = name.lower().startswith("utf-16")
        if _ENCODINGS.fullmatch(name) and wide == (b"\x00" in body[:4]):
            return body.decode(name, "replace")
    return body.decode("utf-8", "replace")


def _slow_to_parse(text: str) -> bool:
    """Whether a document has what makes the parser's time grow with the square of its length: endless tags, tags left
    open, or too many open at once (a closing tag closes one, whatever its name)."""
    if _LONG_TAG.search(text) or text.count("<") > text.count(">") + MAX_POSTS:
        return True
    depth = 0
    for closing, alone in _TAG.findall(text):
        depth = max(0, depth - 1) if closing else depth + (not alone)
        if depth > MAX_DEPTH:
            return True
    return False


def _one_line(value: Any) -> str:
    text = str(value or "")
    return text if text.isascii() and text.isprintable() and len(text) <= 200 else ""


def _stamp(parsed: Any) -> int | None:
    """A feed's broken-down UTC time in Unix ms; None where it is none."""
    import calendar

    try:
        return int(calendar.timegm(parsed)) * 1_000
    except (TypeError, ValueError, OverflowError):
        return None


def _iso_ms(text: Any) -> int | None:
    from datetime import UTC, datetime

    try:
        return int(datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None


def _number_ms(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if 0 < number < 1e14 else None
