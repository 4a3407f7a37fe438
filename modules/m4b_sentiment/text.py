"""Text written by strangers, made safe and plain: one line, printable, bounded. Pure functions, no files, no clock.

Nothing here executes, fetches or expands anything: tags are cut out, entities are decoded to characters, and every
step works on a string whose length is bounded first.
"""

import html
import re
import unicodedata

RAW_CHARACTERS = 4_000
"""Of a raw text, looked at; a headline of a megabyte is cut here before anything else happens to it."""
CHARACTERS = 400
"""Of a clean text, kept."""
MARKS = 2
"""Combining marks kept on one letter; more are decoration that hides words."""
MIN_WORDS = 2

_HIDDEN = re.compile(r"<(script|style|iframe|object|svg|noscript)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.I | re.S)
_TAG = re.compile(r"</?[a-zA-Z!?][^<>]*(>|\Z)")
_URL = re.compile(r"(?:https?://|www\.)\S*|\b(?:t|bit|pic)\.(?:co|ly|twitter\.com)/\S*", re.I)
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")
_QUOTED_FORMULA = re.compile(r"^'(?=[=+\-@\t\r'])")

_ENGLISH = frozenset(
    _WORD.findall(
        "the a an of to in on for and or is are was be been by with as at from that this it its will would has have had not"
        " but after before over under up down out about into than more less new says say said can could may might you your"
        " we our they their he she his her what when how why who all just now if no i my me so do don get got"
    )
)
_FOREIGN = frozenset(
    _WORD.findall(
        "el la los las una del que por para con como pero más este esta está según sobre y le les des une est dans pour sur"
        " avec pas qui ce cette sont au aux et der die das und ist nicht mit von für auf ein eine den dem zu im auch wird bei"
        " o os uma não com em mais ao seu pelo il che di per non sono una gli nel della bir ve bu için ile çok yang dan untuk"
        " dari ini itu dengan akan pada het een van niet voor zijn op aan met"
    )
)
"""Small words of English, and of Spanish, French, German, Portuguese, Italian, Turkish, Indonesian and Dutch."""
_SPAM = tuple(
    (re.compile(pattern, re.I), weight)
    for pattern, weight in (
        (r"\b(?:free|claim|huge)\b.{0,30}\b(?:airdrop|giveaway|tokens?|btc|bitcoin|eth|crypto)\b", 2),
        (r"\b(?:airdrop|giveaway)s?\b.{0,40}\b(?:claim|join|retweet|follow|win|live now|link)\b", 2),
        (r"\b(?:send|deposit)\b.{0,20}\d.{0,12}\b(?:btc|eth|usdt|bitcoin)\b.{0,40}\b(?:get|receive|back|double)\b", 3),
        (r"\bdouble your\b|\b(?:guaranteed|risk[- ]free|easy)\b.{0,15}\b(?:profits?|returns?|gains?|income)\b", 2),
        (r"\b(?:dm|message|whatsapp|inbox|contact)\b.{0,12}\b(?:me|us|now|\+?\d{6,})\b", 2),
        (r"\b(?:join|follow)\b.{0,30}\b(?:telegram|discord|whatsapp|signals?|vip|group|channel)\b|\bt\.me/", 2),
        (r"\b\d{2,4}x\b.{0,30}\b(?:gem|coin|token|soon|potential|easy|next)\b|\bnext \d{2,4}x\b", 2),
        (r"\b(?:pump|moon)(?:ing)?\b.{0,20}\b(?:now|soon|tonight|signal|group|alert)\b|\bpump (?:alert|signal|group)", 2),
        (r"\b(?:promo|referral|invite) code\b|\b(?:casino|betting bonus|sign ?up bonus|presale)\b", 2),
        (r"(?:[$#]\w+\W+){6,}", 2),
        (r"(?:https?://\S+\s*){3,}", 1),
        (r"(.)\1{7,}|(?:[!?]){5,}", 1),
    )
)
SPAM_AT = 2
"""Sum of the weights of the patterns found, from which on a text is spam or a pump."""


def clean(raw: object) -> str:
    """A text as one printable line of at most ``CHARACTERS``: no tags, no scripts, no control, direction or invisible
    characters, no lone surrogates, compatibility forms made plain (NFKC). Cleaning twice gives the same as once.

    Parameters
    ----------
    raw : anything; what is not text counts as empty, bytes are read as UTF-8 with their faults dropped
    """
    if isinstance(raw, bytes):
        raw = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "ignore")
    if not isinstance(raw, str):
        return ""
    text = raw[:RAW_CHARACTERS]
    # What a step uncovers (an entity that hides a tag, a width form that hides "<") the next round cuts; each round
    # that changes anything shortens the text or decodes it further, and an end is forced.
    for _ in range(8):
        before = text
        text = _once(text)
        if text == before:
            return text
    return _once(text.replace("&", " ").replace("<", " "))


def _once(text: str) -> str:
    text = html.unescape(text)
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode("utf-8"))[:RAW_CHARACTERS]
    text = _TAG.sub(" ", _HIDDEN.sub(" ", text))
    text = "".join(_printable(text))
    text = _QUOTED_FORMULA.sub("", _SPACE.sub(" ", text).strip())
    return _cut(text.strip())


def _printable(text: str) -> list[str]:
    """Its characters without those that cannot be seen; a space where one divides words; few marks on a letter."""
    kept, marks = [], 0
    for character in text:
        kind = unicodedata.category(character)
        if kind in ("Mn", "Me"):
            marks += 1
            if marks <= MARKS:
                kept.append(character)
            continue
        marks = 0
        if kind in ("Cc", "Zl", "Zp", "Zs"):
            kept.append(" ")
        elif kind[0] != "C":
            kept.append(character)
    return kept


def _cut(text: str) -> str:
    """At most ``CHARACTERS``, cut between words where there is a space not far back."""
    if len(text) <= CHARACTERS:
        return text
    end = text.rfind(" ", CHARACTERS - 60, CHARACTERS)
    return text[: end if end > 0 else CHARACTERS].rstrip()


def key(text: str) -> str:
    """What two posts share that say the same: their words, folded, without links, marks and punctuation."""
    return " ".join(_WORD.findall(_URL.sub(" ", text).casefold()))


def group(text: str) -> str:
    """The key with every number made equal: texts of one template must not be on both sides of a split."""
    return _DIGITS.sub("0", key(text))


def fault(text: str) -> str:
    """Why a clean text is left out: ``empty``, ``language`` or ``spam``; an empty string where it may stay."""
    words = key(text).split()
    if not words:
        return "empty"
    if not english(text):
        return "language"
    if len(words) < MIN_WORDS:
        return "empty"
    return "spam" if spam_score(text) >= SPAM_AT else ""


def english(text: str) -> bool:
    """Whether a text reads as English: Latin letters for the most part, and no other tongue's small words in the lead.

    A headline may do without small words, so their absence alone speaks against nothing.
    """
    letters = [character for character in text if character.isalpha()]
    if not letters or sum(character < "\u0250" for character in letters) < 0.7 * len(letters):
        return False
    words = key(text).split()
    foreign = sum(word in _FOREIGN for word in words)
    return foreign < 2 or foreign <= sum(word in _ENGLISH for word in words)


def spam_score(text: str) -> int:
    """Sum of the weights of the spam and pump patterns that a text shows."""
    return sum(weight for pattern, weight in _SPAM if pattern.search(text))
