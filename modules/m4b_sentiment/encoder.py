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
SLOT_BITS = 18
SLOTS = 1 << SLOT_BITS
"""Rows of the table of n-grams; n-grams that fall on one row share it (Weinberger et al. 2009, feature hashing)."""
WORD_GRAMS, LETTER_GRAMS = (1, 2), (2, 3, 4, 5)

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[$%€£#@!?+\-.,:]")
_LINK = re.compile(r"https?://\S+|www\.\S+")
_WITHIN_NUMBER = re.compile(r"(?<=\d)[.,](?=\d)")
_GOLDEN = 2_654_435_761
_MASK = (1 << 32) - 1


@dataclass(frozen=True)
class Calibration:
    """Logits to probabilities: softmax(scale * logits + shift), fitted on posts that the model did not learn from."""

    scale: float
    shift: tuple[float, float, float]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, 3) of (N, 3) logits."""
        x = self.scale * np.asarray(logits, float) + np.array(self.shift)
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
    ArtifactError : onnxruntime or tokenizers is not installed
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
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._sources = {name: place for place, name in enumerate(content["sources"])}
        self._known = Calibration(content["known"][0], tuple(content["known"][1:]))
        self._unknown = Calibration(content["unknown"][0], tuple(content["unknown"][1:]))

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
        feed = {"ids": np.array([ids], np.int64), "source": np.array([place], np.int64)}
        if "general" in self._inputs:
            hashes = grams(text)
            feed |= {"general": slots(hashes), "adapted": slots(hashes, source)}
        return feed


def domain(source: str) -> str:
    """The source without its subset: what stands before the first slash."""
    return source.split("/", 1)[0]


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each text, at most ``TOKENS``, at least one."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return [encoding.ids or [0] for encoding in tokenizer.encode_batch(list(texts))]


def grams(text: str) -> np.ndarray:
    """(n,) 32-bit hashes of the words, pairs of words, and runs of letters within words, each once; never empty.

    Numbers count by their number of digits, so that a price is a price at any level.
    """
    plain = _WITHIN_NUMBER.sub("", _LINK.sub(" url ", text.lower()))
    words = [f"0{min(len(word), 9)}" if word[0].isdigit() else word for word in _WORD.findall(plain)[:TOKENS]]
    found = {"_".join(words[i : i + n]) for n in WORD_GRAMS for i in range(len(words) - n + 1)}
    for word in set(words):
        edged = f" {word} "
        found.update(f"~{edged[i : i + n]}" for n in LETTER_GRAMS for i in range(len(edged) - n + 1))
    return np.sort(np.array([zlib.crc32(gram.encode()) for gram in found] or [0], np.int64))


def slots(hashes: np.ndarray, source: str | None = None) -> np.ndarray:
    """(n,) rows of the table for (n,) hashes: those shared by all sources, or those of one (Daumé 2007)."""
    mixed = hashes if source is None else hashes ^ zlib.crc32(domain(source).encode())
    return ((mixed * _GOLDEN) & _MASK) >> (32 - SLOT_BITS)
