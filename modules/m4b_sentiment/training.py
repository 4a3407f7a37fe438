"""Training of the post model and of the temporal head. Brings torch; nothing on the live path imports this file."""

import logging
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from torch.nn import functional

from modules.core.errors import PipelineError
from modules.m4b_sentiment import model
from modules.m4b_sentiment.encoder import READERS, SLOTS, Calibration, domain, grams, slots, token_ids

SCRATCH = "scratch"
VOCABULARY, EMBEDDING, HIDDEN = 12_000, 128, 96
LETTERS, PIECE = 300, 6
"""Letters in the vocabulary, and the longest beginning or end of a word in it."""
PADDING, UNKNOWN = "[PAD]", "[UNK]"
DROPOUT = 0.3
SOURCE_DROPOUT = 0.25
"""Share of posts shown without their source, so that the shared part can stand alone: live feeds are mostly unknown."""
TABLE_C, TABLE_ITERATIONS = 5.0, 300
OWN_GAIN, BIAS_GAIN = 1.5, 0.3
"""How loudly the table hears a source's own words and its name beside what all sources share; less is shrunk more."""
TOKEN_DROPOUT = 0.1
BATCH, BATCHES_SORTED = 64, 50
VALIDATION = 0.08
PATIENCE = 2
MIN_STEPS = 600
"""Of the optimiser; few posts are passed over more often than the setting says, until early stopping ends it."""
MIN_SOURCE_POSTS = 200
"""Labelled posts from which on a source gets weights of its own."""
RATES = {"scratch": 2e-3, "encoder": 8e-5, "head": 2e-3}
HEAD_HIDDEN, HEAD_ATTENTION, HEAD_WINDOWS, HEAD_EPOCHS = 12, 12, 48_000, 12


@dataclass(frozen=True)
class Labelled:
    """N posts: clean texts, sources, (N,) labels 0, 1, 2 in the order of ``model.LABELS``, (N,) groups of near-duplicates."""

    texts: list[str]
    sources: list[str]
    labels: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, rows: np.ndarray) -> "Labelled":
        return Labelled([self.texts[i] for i in rows], [self.sources[i] for i in rows], self.labels[rows], self.groups[rows])


@dataclass(frozen=True)
class Batch:
    """B posts as tensors: token numbers (B, T) with 0 beyond each end, lengths (B,), source numbers (B,)."""

    ids: torch.Tensor
    lengths: torch.Tensor
    source: torch.Tensor


class Heads(nn.Module):
    """Logits of a post vector: one head that all sources share, plus one of the source's own."""

    def __init__(self, width: int, sources: int):
        super().__init__()
        self.sources = sources
        self.drop = nn.Dropout(DROPOUT)
        self.shared = nn.Linear(width, 3)
        self.own = nn.Linear(width, 3 * (sources + 1))
        nn.init.zeros_(self.own.weight)
        nn.init.zeros_(self.own.bias)

    def forward(self, vector: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        vector = self.drop(vector)
        own = self.own(vector).view(-1, self.sources + 1, 3)
        picked = own.gather(1, source[:, None, None].expand(-1, 1, 3))[:, 0]
        return self.shared(vector) + picked * (source < self.sources)[:, None]


class GramTable(nn.Module):
    """Logits of a post by its n-grams, weighted as TF-IDF weights them: words that all sources share, the source's own
    words, and runs of letters. What is said, in whatever order."""

    def __init__(self, rows: np.ndarray, idf: np.ndarray, bias: np.ndarray):
        super().__init__()
        self.rows, self.idf, self.bias = (
            nn.Embedding.from_pretrained(torch.tensor(values, dtype=torch.float32)) for values in (rows, idf[:, None], bias)
        )

    def forward(self, source: torch.Tensor, words: torch.Tensor, own: torch.Tensor, letters: torch.Tensor) -> torch.Tensor:
        """(1, 3) of one post."""
        known = OWN_GAIN * (source < len(self.bias.weight) - 1).float()[:, None]
        said = self._mean(words, self.rows(words) + known * self.rows(own)) + self._mean(letters, self.rows(letters))
        return said + self.bias(source)

    def _mean(self, grams: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        idf = self.idf(grams)
        return (idf * rows).sum(dim=0, keepdim=True) / ((idf * idf).sum().sqrt() + 1e-6)


class TableFit:
    """A ``GramTable`` and the posts that it is fitted on and asked about, by the hundred.

    Parameters
    ----------
    sources : those that have words of their own
    """

    def __init__(self, posts: Labelled, sources: Sequence[str], draw: np.random.Generator):
        self.sources = {name: place for place, name in enumerate(sources)}
        spelt = [grams(text) for text in posts.texts]
        seen = np.zeros(SLOTS)
        for hashes in spelt:
            seen[np.unique(slots(np.concatenate(hashes)))] += 1
        self.idf = np.where(seen < 2, 0.0, np.log((1 + len(spelt)) / (1 + seen)) + 1)
        nameless = draw.permutation(len(posts))[: int(SOURCE_DROPOUT * len(posts))]
        shown = vstack([self._matrix(spelt, posts.sources), self._matrix([spelt[i] for i in nameless], [""] * len(nameless))])
        fit = LogisticRegression(C=TABLE_C, max_iter=TABLE_ITERATIONS)
        fit.fit(shown.tocsr(), np.concatenate([posts.labels, posts.labels[nameless]]))
        two = len(fit.classes_) == 2
        weights = np.zeros((shown.shape[1], 3))
        weights[:, fit.classes_] = np.concatenate([-fit.coef_, fit.coef_]).T / 2 if two else fit.coef_.T
        self.bias = np.zeros((len(sources) + 1, 3))
        self.bias[:, fit.classes_] = np.concatenate([-fit.intercept_, fit.intercept_]) / 2 if two else fit.intercept_
        self.bias[:-1] += BIAS_GAIN * weights[SLOTS:]
        self.rows = weights[:SLOTS]

    def logits(self, posts: Labelled, source_known: bool = True) -> np.ndarray:
        """(N, 3)."""
        names = posts.sources if source_known else [""] * len(posts)
        place = [self.sources.get(domain(name), len(self.sources)) for name in names]
        said = self._matrix([grams(text) for text in posts.texts], names)[:, :SLOTS] @ self.rows
        return said + self.bias[place]

    def net(self) -> GramTable:
        """For the export."""
        return GramTable(self.rows, self.idf, self.bias)

    def _matrix(self, spelt: Sequence[tuple[np.ndarray, np.ndarray]], sources: Sequence[str]) -> csr_matrix:
        """(N, SLOTS + sources) the weight of each n-gram in each post, and which source it has."""
        ends, places, weights = [0], [np.zeros(0, int)], [np.zeros(0)]
        for (words, letters), source in zip(spelt, sources, strict=True):
            parts = [(slots(words), self._weights(words)), (slots(letters), self._weights(letters))]
            place = self.sources.get(domain(source))
            if place is not None:
                parts += [(slots(words, source), OWN_GAIN * parts[0][1]), (np.array([SLOTS + place]), np.array([BIAS_GAIN]))]
            places += [at for at, _ in parts]
            weights += [weight for _, weight in parts]
            ends.append(ends[-1] + sum(len(at) for at, _ in parts))
        shape = (len(spelt), SLOTS + len(self.sources))
        return csr_matrix((np.concatenate(weights), np.concatenate(places), ends), shape)

    def _weights(self, hashes: np.ndarray) -> np.ndarray:
        idf = self.idf[slots(hashes)]
        return idf / (np.sqrt((idf * idf).sum()) + 1e-6)


class ScratchReader(nn.Module):
    """A Bi-LSTM over tokens of an own vocabulary."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.width = 4 * HIDDEN
        self.embed = nn.Embedding(vocabulary, EMBEDDING)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.drop = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.attend = nn.Linear(2 * HIDDEN, 1)

    def rates(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": RATES["scratch"]}]

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """(B, width): attention-weighted mean and maximum of the hidden states; packed, so that no padding is read."""
        if self.training:
            ids = torch.where(torch.rand(ids.shape) < TOKEN_DROPOUT, torch.ones_like(ids), ids)
        embedded = self.drop(self.embed(ids))
        if lengths is None:
            hidden, _ = self.lstm(embedded)
            energy, peak = self.attend(hidden)[..., 0], hidden
        else:
            packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            hidden, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
            beyond = torch.arange(ids.shape[1])[None] >= lengths[:, None]
            energy = self.attend(hidden)[..., 0].masked_fill(beyond, -1e9)
            peak = hidden.masked_fill(beyond[..., None], -1e9)
        return torch.cat([(hidden * energy.softmax(dim=1)[..., None]).sum(dim=1), peak.amax(dim=1)], dim=1)


class HuggingFaceReader(nn.Module):
    """The mean of any Hugging Face encoder's last hidden states; its word embeddings stay as they are."""

    def __init__(self, encoder: Any, frozen: bool):
        super().__init__()
        self.encoder: Any = encoder
        self.frozen = frozen
        self.width = int(encoder.config.hidden_size)
        encoder.requires_grad_(not frozen)
        encoder.get_input_embeddings().requires_grad_(False)
        self.short = not frozen and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def rates(self) -> list[dict[str, Any]]:
        moving = [value for value in self.encoder.parameters() if value.requires_grad]
        return [{"params": moving, "lr": RATES["encoder"]}] if moving else []

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """(B, width)."""
        if lengths is None:
            return self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(dim=1)
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        with torch.set_grad_enabled(self.training and not self.frozen), torch.autocast("cpu", torch.bfloat16, self.short):
            hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class TokenNet(nn.Module):
    """Logits of a post by its tokens: in which order it is said."""

    def __init__(self, reader: ScratchReader | HuggingFaceReader, sources: int):
        super().__init__()
        self.reader, self.heads = reader, Heads(reader.width, sources)

    def rates(self) -> list[dict[str, Any]]:
        return [{"params": list(self.heads.parameters()), "lr": RATES["head"]}, *self.reader.rates()]

    def forward(self, batch: Batch) -> torch.Tensor:
        """(B, 3)."""
        return self.heads(self.reader(batch.ids, batch.lengths), batch.source)


class PostNet(nn.Module):
    """Both readers of one post, for the export."""

    def __init__(self, table: GramTable, tokens: TokenNet):
        super().__init__()
        self.table, self.tokens = table, tokens

    def forward(
        self, ids: torch.Tensor, source: torch.Tensor, words: torch.Tensor, own: torch.Tensor, letters: torch.Tensor
    ) -> torch.Tensor:
        """(1, READERS, 3) logits."""
        order = self.tokens.heads(self.tokens.reader(ids, None), source)
        return torch.stack([self.table(source, words, own, letters), order], dim=1)


@dataclass
class Trained:
    """A fitted post model, its tokenizer, the sources that it knows, and its calibrations."""

    table: TableFit
    net: TokenNet
    tokenizer: Tokenizer
    sources: list[str]
    known: Calibration
    unknown: Calibration
    epochs: int

    def content(self) -> dict[str, Any]:
        """What ``encoder.PostEncoder`` needs beside the ONNX bytes."""
        return {"sources": self.sources, "known": self.known.values, "unknown": self.unknown.values}

    def scores(self, posts: Labelled, source_known: bool = True) -> np.ndarray:
        """(N, 3) calibrated probabilities, by torch in batches; ``source_known`` False reads all as from unknown sources."""
        feeder = _Feeder(self.tokenizer, posts, self.sources if source_known else [], len(self.sources))
        logits = np.stack([self.table.logits(posts, source_known), _logits(self.net, feeder, np.arange(len(posts)))], 1)
        place = feeder.place < len(self.sources)
        return np.where(place[:, None], self.known.probabilities(logits), self.unknown.probabilities(logits))

    def onnx(self) -> tuple[bytes, bytes]:
        """The model as float and as 8-bit ONNX."""
        return _export(PostNet(self.table.net(), self.net))


def fit_posts(
    posts: Labelled,
    encoder: str,
    epochs: int,
    seed: int,
    threads: int,
    frozen: bool = False,
    tick: Callable[[], None] | None = None,
) -> Trained:
    """Fit a post model: class weights, dropout, early stopping on a validation share of whole groups. The same input gives
    the same bytes.

    Parameters
    ----------
    encoder : ``scratch``, or the name or the folder of a Hugging Face encoder
    tick : called after each epoch

    Raises
    ------
    PipelineError : the encoder cannot be loaded
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    random.seed(seed)
    draw = np.random.Generator(np.random.PCG64(seed))
    names, counts = np.unique([domain(source) for source in posts.sources], return_counts=True)
    sources = [str(name) for name, count in zip(names, counts, strict=True) if name and count >= MIN_SOURCE_POSTS]
    held = np.isin(posts.groups, draw.permutation(np.unique(posts.groups))[: int(VALIDATION * len(np.unique(posts.groups))) + 1])
    learn, check = np.flatnonzero(~held), np.flatnonzero(held)
    table = TableFit(posts.at(learn), sources, draw)
    if encoder == SCRATCH:
        tokenizer = make_tokenizer([posts.texts[i] for i in learn])
        reader: ScratchReader | HuggingFaceReader = ScratchReader(tokenizer.get_vocab_size())
    else:
        tokenizer, body = load_encoder(encoder)
        reader = HuggingFaceReader(body, frozen)
    net = TokenNet(reader, len(sources))
    feeder = _Feeder(tokenizer, posts, sources, len(sources))
    count = np.bincount(posts.labels[learn], minlength=3)
    weights = torch.tensor(np.sqrt(len(learn) / 3 / np.maximum(count, 1)), dtype=torch.float32)
    optimizer = torch.optim.AdamW(net.rates(), weight_decay=0.0 if encoder == SCRATCH else 0.01, fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    best, best_loss, best_epoch = net.state_dict(), np.inf, 0
    passes = max(epochs, MIN_STEPS // (len(learn) // BATCH + 1))
    steps = passes * (len(learn) // BATCH + 1)
    step = 0
    for epoch in range(passes):
        net.train()
        for rows in feeder.batches(learn, draw):
            pace = min(1.0, (step + 1) / (0.05 * steps)) * max(0.02, 1 - step / steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * pace
            batch, target = feeder.batch(rows, draw), torch.tensor(posts.labels[rows])
            loss = functional.cross_entropy(net(batch), target, weights)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
        if tick:
            tick()
        found = functional.cross_entropy(torch.tensor(_logits(net, feeder, check)), torch.tensor(posts.labels[check])).item()
        if found < best_loss:
            best, best_loss, best_epoch = {name: value.clone() for name, value in net.state_dict().items()}, found, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    net.load_state_dict(best)
    net.eval()
    held_out = posts.at(check)
    fits = []
    for source_known in (True, False):
        feeder = _Feeder(tokenizer, held_out, sources if source_known else [], len(sources))
        said = [table.logits(held_out, source_known), _logits(net, feeder, np.arange(len(check)))]
        fits.append(_calibrated(np.stack(said, 1), held_out.labels))
    return Trained(table, net, tokenizer, sources, fits[0], fits[1], best_epoch + 1)


def make_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A WordPiece tokenizer over a vocabulary of these texts: folded, without accents, links as one word, numbers whole."""
    normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"https?://\S+|www\.\S+"), " url "),
            normalizers.Replace(Regex(r"(?<=\d)[.,](?=\d)"), ""),
        ]
    )
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=False)]
    )
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    tokenizer = Tokenizer(models.WordPiece(vocabulary(words), unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return tokenizer


def vocabulary(words: Counter[str]) -> dict[str, int]:
    """Token numbers: every frequent letter, the most frequent words whole, and the beginnings and ends of words that
    rarer words are read by. Made here because the library's own trainer breaks ties in another order each time.
    """
    letters, pieces = Counter[str](), Counter[str]()
    for word, count in words.items():
        letters.update(dict.fromkeys(word, count))
        for size in range(2, min(PIECE, len(word) - 1) + 1):
            pieces[word[:size]] += count
            pieces["##" + word[-size:]] += count
    tokens = [PADDING, UNKNOWN]
    for letter in _frequent(letters, LETTERS):
        tokens += [letter, "##" + letter]
    tokens += [word for word in _frequent(words, 3 * VOCABULARY // 4) if len(word) > 1]
    tokens += [piece for piece in _frequent(pieces, VOCABULARY) if piece not in words]
    return {token: number for number, token in enumerate(list(dict.fromkeys(tokens))[:VOCABULARY])}


def _frequent(counted: Counter[str], most: int) -> list[str]:
    """Those seen at least twice, the most frequent first, in one order whatever the order of counting."""
    return [name for name, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])) if count > 1][:most]


def load_encoder(name: str) -> tuple[Tokenizer, Any]:
    """The fast tokenizer and the body of a Hugging Face encoder, by its name on the hub or its folder.

    Raises
    ------
    PipelineError : it cannot be loaded; no code that comes with a model is ever run
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as talk

    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        fast = AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=Path(name).is_dir())
        body = AutoModel.from_pretrained(
            name,
            trust_remote_code=False,
            local_files_only=Path(name).is_dir(),
            use_safetensors=True,
            attn_implementation="eager",
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = str(error).strip().split("\n")[0]
        raise PipelineError(f"[sentiment] encoder = {name!r} cannot be loaded: {why}") from error
    if not getattr(fast, "is_fast", False):
        raise PipelineError(f"[sentiment] encoder = {name!r} has no fast tokenizer (tokenizer.json)")
    return fast.backend_tokenizer, body


class _Feeder:
    """Posts as batches."""

    def __init__(self, tokenizer: Tokenizer, posts: Labelled, sources: Sequence[str], unknown: int):
        self.ids = token_ids(tokenizer, posts.texts)
        self.length = np.array([len(ids) for ids in self.ids])
        place = {name: i for i, name in enumerate(sources)}
        self.place = np.array([place.get(domain(source), unknown) for source in posts.sources], int)
        self.unknown = unknown

    def batches(self, rows: np.ndarray, draw: np.random.Generator | None = None, size: int = BATCH) -> Iterator[np.ndarray]:
        """Batches of posts of like length; shuffled where ``draw`` is given."""
        rows = rows if draw is None else draw.permutation(rows)
        parts = []
        for start in range(0, len(rows), size * BATCHES_SORTED):
            part = rows[start : start + size * BATCHES_SORTED]
            part = part[np.argsort(self.length[part], kind="stable")]
            parts += [part[i : i + size] for i in range(0, len(part), size)]
        order = range(len(parts)) if draw is None else draw.permutation(len(parts)).tolist()
        return (parts[i] for i in order)

    def batch(self, rows: np.ndarray, draw: np.random.Generator | None = None) -> Batch:
        """The posts of some rows; with ``draw`` a share of them loses its source."""
        ids = np.zeros((len(rows), int(self.length[rows].max())), np.int64)
        for i, row in enumerate(rows):
            ids[i, : self.length[row]] = self.ids[row]
        source = self.place[rows]
        if draw is not None:
            source = np.where(draw.random(len(rows)) < SOURCE_DROPOUT, self.unknown, source)
        return Batch(torch.tensor(ids), torch.tensor(self.length[rows]), torch.tensor(source))


def _logits(net: Any, feeder: _Feeder, rows: np.ndarray) -> np.ndarray:
    """(len(rows), 3), without dropout."""
    net.eval()
    found = np.zeros((len(feeder.ids), 3), np.float32)
    with torch.no_grad():
        for part in feeder.batches(rows, size=256):
            found[part] = net(feeder.batch(part)).numpy()
    return found[rows]


def _calibrated(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Weights and shifts of least log-loss for (N, READERS, 3) logits: temperature scaling (Guo et al. 2017) with a weight a
    reader and a bias a class."""

    def loss(x: np.ndarray) -> float:
        chances = Calibration.of(x.tolist()).probabilities(logits)[np.arange(len(labels)), labels]
        return float(-np.log(np.clip(chances, 1e-12, 1)).mean() + 1e-3 * (x[READERS:] ** 2).sum())

    start, bounds = [0.5] * READERS + [0.0] * 3, [(0.0, 5.0)] * READERS + [(-3.0, 3.0)] * 3
    return Calibration.of(minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds).x.tolist())


def _export(net: Any) -> tuple[bytes, bytes]:
    """Float and 8-bit ONNX of a net, for one post of any length."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    net.eval()
    names = ["ids", "source", "words", "own", "letters"]
    examples = (torch.ones(1, 7, dtype=torch.long), torch.zeros(1, dtype=torch.long), *[torch.arange(n) for n in (5, 5, 9)])
    axes = {"ids": {1: "tokens"}, "words": {0: "words"}, "own": {0: "words"}, "letters": {0: "runs"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # the exporters' advice to programmers
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        torch.onnx.export(
            net,
            examples,
            str(plain),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
        # A scale for each column: one for a whole matrix cost a base-size encoder 4 points of accuracy. And of 8 bits 7, for
        # processors without VNNI add pairs of products in 16 bits, which overflow.
        quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        logging.disable(logging.NOTSET)
        return plain.read_bytes(), small.read_bytes()


class HeadNet(nn.Module):
    """The Bi-LSTM with temporal attention of ``model.Head``, in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(model.FEATURES, HEAD_HIDDEN, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(DROPOUT)
        self.project = nn.Linear(2 * HEAD_HIDDEN, HEAD_ATTENTION)
        self.query = nn.Linear(HEAD_ATTENTION, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, L) attention."""
        hidden, _ = self.lstm(features)
        return self.query(torch.tanh(self.project(self.drop(hidden))))[..., 0].softmax(dim=1)

    def plain(self) -> model.Head:
        """As numpy."""
        weights = {name: value.detach().double().numpy() for name, value in self.named_parameters()}
        forward, backward = (
            (
                weights[f"lstm.weight_ih_l0{end}"].T,
                weights[f"lstm.weight_hh_l0{end}"].T,
                weights[f"lstm.bias_ih_l0{end}"] + weights[f"lstm.bias_hh_l0{end}"],
            )
            for end in ("", "_reverse")
        )
        return model.Head(forward, backward, weights["project.weight"].T, weights["project.bias"], weights["query.weight"][0])


@dataclass(frozen=True)
class Windows:
    """Composed windows of one length: (N, L, 3) scores, (N, L) ages in minutes, (N,) the mood at their end, 0, 1, 2."""

    scores: np.ndarray
    ages: np.ndarray
    mood: np.ndarray


def compose(scores: np.ndarray, labels: np.ndarray, window: int, count: int, draw: np.random.Generator) -> list[Windows]:
    """Windows put together from labelled posts, because real feeds carry no label of a mood: a hidden mood that switches
    once in every second window, posts that agree with it in seven of ten cases, at random moments.

    Parameters
    ----------
    scores, labels : (P, 3) out-of-fold scores of labelled posts and (P,) their labels
    count : how many in all, in parts of 1 to 24 posts
    """
    by_label = [np.flatnonzero(labels == label) for label in range(3)]
    present = [label for label in range(3) if len(by_label[label])]
    parts = []
    for length in range(1, 25):
        rows = count // 24
        first, now = draw.choice(present, (2, rows))
        switch = np.where(draw.random(rows) < 0.5, draw.integers(0, length, rows), 0)
        mood = np.where(np.arange(length)[None] < switch[:, None], first[:, None], now[:, None])
        said = np.where(draw.random((rows, length)) < 0.7, mood, draw.choice(present, (rows, length)))
        picked = np.empty((rows, length), int)
        for label in present:
            here = said == label
            picked[here] = draw.choice(by_label[label], int(here.sum()))
        ages = -np.sort(-draw.random((rows, length)) * window, axis=1)
        parts.append(Windows(scores[picked], np.abs(ages), now))
    return parts


def fit_head(scores: np.ndarray, labels: np.ndarray, window: int, seed: int, threads: int) -> tuple[model.Head, dict[str, float]]:
    """The temporal head, fitted so that attention picks the posts that tell the mood at the end of a window; and the
    accuracy of the mood on windows of other posts, beside the plain mean, the time-decayed mean and the newest post."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    draw = np.random.Generator(np.random.PCG64(seed))
    order = draw.permutation(len(labels))
    cut = [int(share * len(order)) for share in (0.7, 0.8)]
    learn, check, test = (
        compose(scores[rows], labels[rows], window, size, draw)
        for rows, size in zip(np.split(order, cut), (HEAD_WINDOWS, 4_800, 4_800), strict=True)
    )
    net = HeadNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    best, best_loss, best_epoch = net.state_dict(), np.inf, 0
    for epoch in range(HEAD_EPOCHS):
        net.train()
        for i in draw.permutation(len(learn)):
            for rows in np.array_split(draw.permutation(len(learn[i].mood)), 4):
                part = Windows(learn[i].scores[rows], learn[i].ages[rows], learn[i].mood[rows])
                loss = _head_loss(net, part, window)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        net.eval()
        with torch.no_grad():
            found = sum(_head_loss(net, part, window).item() for part in check)
        if found < best_loss:
            best, best_loss, best_epoch = {name: value.clone() for name, value in net.state_dict().items()}, found, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    net.load_state_dict(best)
    head = net.plain()
    return head, _head_accuracy(head, test, window)


def _head_loss(net: HeadNet, part: Windows, window: int) -> torch.Tensor:
    features = torch.tensor(model.post_features(part.scores, part.ages, window), dtype=torch.float32)
    mixed = (net(features)[..., None] * torch.tensor(part.scores, dtype=torch.float32)).sum(dim=1)
    return functional.nll_loss(mixed.clamp_min(1e-6).log(), torch.tensor(part.mood))


def _head_accuracy(head: model.Head, parts: list[Windows], window: int) -> dict[str, float]:
    hits: dict[str, list[np.ndarray]] = {"attention": [], "plain mean": [], "time-decayed mean": [], "newest post": []}
    for part in parts:
        weights = {
            "attention": head.attention(model.post_features(part.scores, part.ages, window)),
            "plain mean": np.ones(part.ages.shape),
            "time-decayed mean": np.exp2(-3 * part.ages / window),
            "newest post": (np.arange(part.ages.shape[1]) == part.ages.shape[1] - 1) * np.ones(part.ages.shape),
        }
        for name, weight in weights.items():
            hits[name].append((weight[..., None] * part.scores).sum(axis=1).argmax(axis=1) == part.mood)
    return {name: float(np.concatenate(found).mean()) for name, found in hits.items()}
