"""The cleaner against text written to break it."""

import csv
import gzip
import random
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.tables import safe_text
from modules.m4b_sentiment import text

NEWS = Path(__file__).parents[3] / "shared" / "data" / "news"
PIECES = (
    "<script>", "</script>", "<b>", "</b>", "<!--", "-->", "<style", "&lt;", "&gt;", "&amp;", "&#60;", "&#x3c;", "＜", "＞",
    "\u202e", "\u2066", "\u200b", "\ud800", "\udfff", "\x00", "\r", "\n", "\t", "=", "+", "-", "@", "'",
    "é", "e\u0301\u0301\u0301",
    "ﷺ", "Bitcoin ", "falls ", "<", ">", "&", ";", '"', ",",
)  # fmt: skip
anything = st.one_of(st.text(st.characters(), max_size=300), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


@given(anything)
@settings(max_examples=300, deadline=None)
def test_a_clean_text_is_one_bounded_printable_line(raw):
    clean = text.clean(raw)
    assert len(clean) <= text.CHARACTERS
    assert clean == clean.strip()
    clean.encode("utf-8")
    assert all(unicodedata.category(character)[0] != "C" for character in clean)
    assert not any(character in clean for character in "\n\r\t\u2028\u2029\u202e\u2066\u200b")
    assert not safe_text(clean).startswith(("=", "+", "-", "@"))


@given(anything)
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_is_cleaning_once(raw):
    clean = text.clean(raw)
    assert text.clean(clean) == clean
    assert text.clean(safe_text(clean)) == clean
    assert text.key(clean) == text.key(clean.upper()) or "ß" in clean or not clean.isascii()


@given(anything)
@settings(max_examples=200, deadline=None)
def test_no_tag_survives(raw):
    clean = text.clean(raw + "<script>alert(1)</script><img src=x onerror=alert(1)>").lower()
    assert "<script" not in clean
    assert "<img" not in clean
    assert "onerror" not in clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<p>Bitcoin <b>falls</b></p>", "Bitcoin falls"),
        ("Bitcoin &amp;lt;script&amp;gt;alert(1)&amp;lt;/script&amp;gt; falls", "Bitcoin falls"),
        ("<script>document.cookie</script>Bitcoin falls", "Bitcoin falls"),
        ("Bitcoin falls<!-- hidden", "Bitcoin falls"),
        ("Bitcoin is worth <50,000 & falling", "Bitcoin is worth <50,000 & falling"),
        ("\u202eBit\u200bcoin\x00 \ud800falls\ufeff", "Bitcoin falls"),
        ("Ｂｉｔｃｏｉｎ　ｆａｌｌｓ", "Bitcoin falls"),
        ("＜script＞alert(1)＜/script＞Bitcoin falls", "Bitcoin falls"),
        ("Bitcoin" + "\u0308" * 50 + " falls", "Bitcoin\u0308\u0308 falls"),
        ("'=1+1 is two", "=1+1 is two"),
        (b"Bitcoin \xff falls", "Bitcoin falls"),
        (None, ""),
        (17, ""),
    ],
)
def test_known_tricks(raw, clean):
    assert text.clean(raw) == clean


def test_a_cell_that_would_be_a_formula_is_neutral_in_a_table():
    for start in ("=", "+", "-", "@", "\t=", "\r=", "＝", "&#61;"):
        assert not safe_text(text.clean(start + 'HYPERLINK("http://x","y") bitcoin')).startswith(("=", "+", "-", "@"))


def test_a_headline_of_a_megabyte_takes_no_time():
    started = time.perf_counter()
    for unit in ("a", "<", "&amp;", "<script>", "\u0301", "http://", "free airdrop ", "ﷺ", "$a "):
        clean = text.clean(unit * (1_000_000 // len(unit)))
        text.fault(clean)
        assert len(clean) <= text.CHARACTERS
    assert time.perf_counter() - started < 1


def test_posts_that_say_the_same_share_a_key():
    assert text.key("BREAKING: Bitcoin falls! https://t.co/abc") == text.key("breaking bitcoin falls")
    assert text.key("Bitcoin at 50,000") != text.key("Bitcoin at 60,000")
    assert text.group("Bitcoin at 50,000") == text.group("Bitcoin at 61,999")


@pytest.mark.parametrize(
    "raw",
    [
        "Bitcoin stürzt ab und die Anleger verkaufen alles",
        "El precio del bitcoin cae por la decisión de los reguladores",
        "Le bitcoin chute dans un marché qui est nerveux",
        "Биткоин падает после решения регулятора",
        "比特币价格今天下跌了很多",
        "سعر البيتكوين ينخفض اليوم",
    ],
)
def test_other_languages_are_left_out(raw):
    assert text.fault(text.clean(raw)) == "language"


@pytest.mark.parametrize(
    "raw",
    [
        "Claim your FREE bitcoin airdrop now! Link in bio",
        "Send 0.1 BTC to this address and get 0.2 BTC back",
        "Guaranteed profits every day, DM me now",
        "Join our VIP telegram pump signals group t.me/moonpump",
        "This gem is the next 100x, presale ends tonight!!!!!!",
        "$AAA $BBB $CCC $DDD $EEE $FFF $GGG to the top",
    ],
)
def test_spam_and_pumps_are_left_out(raw):
    assert text.fault(text.clean(raw)) == "spam"


@pytest.mark.parametrize("raw", ["", "   ", "!!!", "Bitcoin", "https://example.org/a"])
def test_what_says_nothing_is_left_out(raw):
    assert text.fault(text.clean(raw)) == "empty"


@pytest.mark.parametrize("name", ["fin_phrasebank", "twitter_financial_news", "sentfin", "btc_news_timeline", "cryptonews_plus"])
def test_real_news_stays(name):
    path = NEWS / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip("the shared news data is not beside the repository")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row["text"] for row in csv.DictReader(file)]
    sample = random.Random(7).sample(rows, 1_000)
    left_out = [fault for fault in (text.fault(text.clean(raw)) for raw in sample) if fault]
    assert len(left_out) < 0.02 * len(sample), {fault: left_out.count(fault) for fault in set(left_out)}
