"""The post encoder on the live path: a tokenizer and an 8-bit ONNX model, no torch and no transformers.

A post is scored by itself: 8-bit activations are scaled by what runs together, so in a batch a score would depend on its
neighbours.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modules.core.errors import ArtifactError

TOKENS = 64
"""Of a post, read."""
SLOT_BITS = 19
SLOTS = 1 << SLOT_BITS
"""Rows of the table of n-grams; n-grams that fall on one row share it (Weinberger et al. 2009, feature hashing)."""
READERS = 2
"""Of a post, each with logits of its own: the table of n-grams, and what reads the tokens in their order."""
WORD_GRAMS, LETTER_GRAMS = (1, 2), (2, 3, 4, 5)

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[$%€£#@!?+\-.,:]")
_LINK = re.compile(r"https?://\S+|www\.\S+")
_WITHIN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")
_GOLDEN = 2_654_435_761
_MASK = (1 << 32) - 1


@dataclass(frozen=True)
class Calibration:
    """The readers' logits to probabilities: softmax of their weighted sum and a shift a class, fitted on posts that the
    model did not learn from."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Calibration":
        """From the list that ``values`` gives."""
        return cls(tuple(values[:READERS]), tuple(values[READERS:]))

    @property
    def values(self) -> list[float]:
        return [*self.scale, *self.shift]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, 3) of (N, READERS, 3) logits."""
        x = np.tensordot(np.asarray(logits, float), np.array(self.scale), (1, 0)) + np.array(self.shift)
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


class PostEncoder:
    """Scores clean texts.

    Parameters
    ----------
    onnx : the exported model
    tokenizer : the JSON of a Hugging Face tokenizer
    content : kind, sources and calibrations, as ``training.Trained.content`` gives them

    Raises
    ------
    ArtifactError : onnxruntime or tokenizers is not installed; the model is of another version
    """

    def __init__(self, onnx: bytes, tokenizer: bytes, content: dict[str, Any]):
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ArtifactError(f"{error.name} is not installed: pip install -r requirements-sentiment.txt") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        self._sources = {name: place for place, name in enumerate(content["sources"])}
        self._known, self._unknown = Calibration.of(content["known"]), Calibration.of(content["unknown"])
        if {len(fit.shift) for fit in (self._known, self._unknown)} != {3}:
            raise ArtifactError("the sentiment model was made by another version of the program; train again with --train")

    def scores(self, texts: Sequence[str], sources: Sequence[str]) -> np.ndarray:
        """(N, 3) probabilities of negative, neutral, positive for N clean texts; each alone, whatever stands beside it.

        A source that the model knows is read as its labellers read it, any other by what all of them share.
        """
        scores = np.full((len(texts), 3), 1 / 3)
        for i, (text, source) in enumerate(zip(texts, sources, strict=True)):
            place = self._sources.get(domain(source), len(self._sources))
            logits = self._session.run(None, self._feed(text, source, place))[0]
            known = place < len(self._sources)
            scores[i] = (self._known if known else self._unknown).probabilities(logits)[0]
        return scores

    def _feed(self, text: str, source: str, place: int) -> dict[str, np.ndarray]:
        ids = token_ids(self._tokenizer, [text])[0]
        words, letters = grams(text)
        return {
            "ids": np.array([ids], np.int64),
            "source": np.array([place], np.int64),
            "words": slots(words),
            "own": slots(words, source),
            "letters": slots(letters),
        }


def domain(source: str) -> str:
    """The source without its subset: what stands before the first slash."""
    return source.split("/", 1)[0]


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each text, at most ``TOKENS``, at least one."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return [encoding.ids or [0] for encoding in tokenizer.encode_batch(list(texts))]


def grams(text: str) -> tuple[np.ndarray, np.ndarray]:
    """32-bit hashes of the words and pairs of words, and of the runs of letters within words, each once; neither empty.

    Numbers count by their number of digits, so that a price is a price at any level.
    """
    plain = _WITHIN_NUMBER.sub("", _LINK.sub(" url ", text.lower()))
    words = [f"0{min(len(word), 9)}" if word[0].isdigit() else word for word in _WORD.findall(plain)[:TOKENS]]
    said = {"_".join(words[i : i + n]) for n in WORD_GRAMS for i in range(len(words) - n + 1)}
    edged = [f" {word} " for word in set(words)]
    runs = {f"~{word[i : i + n]}" for word in edged for n in LETTER_GRAMS for i in range(len(word) - n + 1)}
    return _hashed(said), _hashed(runs)


def _hashed(found: set[str]) -> np.ndarray:
    return np.sort(np.array([zlib.crc32(gram.encode()) for gram in found] or [0], np.int64))


def slots(hashes: np.ndarray, source: str | None = None) -> np.ndarray:
    """(n,) rows of the table for (n,) hashes: those shared by all sources, or those of one (Daumé 2007)."""
    mixed = hashes if source is None else hashes ^ zlib.crc32(domain(source).encode())
    return ((mixed * _GOLDEN) & _MASK) >> (32 - SLOT_BITS)
