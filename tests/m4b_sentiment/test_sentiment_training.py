"""What is learned: the plants are found, twice the same, the same in torch and on the live path, with any encoder."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from modules.core.errors import ArtifactError, PipelineError
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.statistics import Figures
from modules.core.telemetry import Progress
from modules.m4b_sentiment import encoder, measure, model, text, trainer

WHY = "is not installed: the sentiment model cannot be trained"
torch = pytest.importorskip("torch", reason=f"torch {WHY}")
for needed in ("onnx", "onnxruntime", "tokenizers", "sklearn", "scipy"):
    pytest.importorskip(needed, reason=f"{needed} {WHY}")
training = importlib.import_module("modules.m4b_sentiment.training")


def headlines(planted, count, sources=("wire",)):
    news = planted.news
    texts = [text.clean(words) for words in news["text"][:count]]
    groups = np.array([text.group(words) for words in texts], object)
    return training.Labelled(texts, [sources[i % len(sources)] for i in range(count)], news["label"][:count] + 1, groups)


@pytest.fixture(scope="module", autouse=True)
def short():
    """Enough steps for what is compared here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MIN_STEPS", 60)
        yield


def fit_two_sources(planted):
    return training.fit_posts(headlines(planted, 500, ("wire", "blog")), "scratch", 1, 7, 1)


@pytest.fixture(scope="module")
def fitted(planted):
    return fit_two_sources(planted)


def live(trained, quantised=True):
    onnx = trained.onnx()[int(quantised)]
    return encoder.PostEncoder(onnx, trained.tokenizer.to_str().encode(), trained.content())


def test_the_planted_news_are_found(learned, planted, stamps):
    root, said = learned
    run = Run.open(root, load_settings())
    figures = run.workspace.read("sentiment_stats")
    at = {(scope, figure): i for i, (scope, figure) in enumerate(zip(figures["scope"], figures["figure"], strict=True))}
    pooled = at["pooled: planted, 3 classes", "accuracy"]
    assert figures["value"][pooled] > 0.9
    assert figures["n"][pooled] > 30
    history = run.workspace.read("sentiment_history")
    assert history["timestamp"].tolist() == stamps[:20_000].tolist()
    told = np.convolve(planted.truth["news_impact"][:20_000], np.ones(1), "same")
    loud = (np.abs(history["trajectory"]) > 0.3) & (told != 0)
    assert loud.sum() > 1_000
    assert (np.sign(history["trajectory"]) == np.sign(told))[loud].mean() > 0.75
    assert any("4B sentiment: accuracy" in line for line in said)


def test_a_labelled_post_whose_fold_was_not_run_counts_as_none(workspace, stamps):
    run = Run.open(workspace, load_settings())
    texts = ["one was scored out of fold", "two was learned from", "three has no label at all"]
    corpus = trainer.Corpus(
        texts,
        np.array([stamps[1_000], stamps[5_000], stamps[9_000]], float),
        np.array(["feed"] * 3, object),
        np.array([2, 2, -1]),
        np.array(["human", "human", ""], object),
        np.array(texts, object),
    )
    own = np.full((3, 3), np.nan)
    own[0] = [0.0, 0.1, 0.9]
    asked = []

    class Scorer:
        def scores(self, texts, sources):
            asked.extend(texts)
            return np.tile([0.0, 0.1, 0.9], (len(texts), 1))

    head = model.Head.of(run.artifacts.load_json("sentiment_export")["head"])
    said = trainer._history(run, corpus, own, Scorer(), head, Figures())
    assert asked == texts[2:]
    assert said[0].startswith("4B sentiment: 2 dated posts")
    loud = np.flatnonzero(run.workspace.read("sentiment_history")["trajectory"])
    assert set(loud // 1_000) == {1, 9}


def test_the_tables_and_the_picture_are_whole(learned):
    run = Run.open(learned[0], load_settings())
    confusion = run.workspace.read("sentiment_confusion")
    figures = run.workspace.read("sentiment_stats")
    pooled = confusion["scope"] == "pooled: planted, 3 classes"
    n = figures["n"][(figures["scope"] == "pooled: planted, 3 classes") & (figures["figure"] == "accuracy")][0]
    assert confusion["n"][pooled].sum() == n
    assert run.workspace.read("sentiment_calibration")["n"].min() >= 1
    assert (learned[0] / trainer.CALIBRATION_PLOT).read_text().startswith("<svg")
    names = set(figures["figure"])
    assert {"accuracy", "macro-F1", "calibration error", "accuracy of the 8-bit model", "accuracy, source unknown"} <= names
    assert run.artifacts.check() == []


def test_twice_the_same_bytes(planted, fitted):
    again = fit_two_sources(planted)
    assert again.onnx() == fitted.onnx()
    assert again.tokenizer.to_str() == fitted.tokenizer.to_str()
    assert json.dumps(again.content()) == json.dumps(fitted.content())


def test_torch_in_batches_is_the_live_path_one_by_one(planted, fitted):
    some = headlines(planted, 60, ("wire", "nobody knows"))
    np.testing.assert_allclose(live(fitted, False).scores(some.texts, some.sources), fitted.scores(some), atol=2e-5)
    close = live(fitted).scores(some.texts, some.sources)
    assert (close.argmax(axis=1) == fitted.scores(some).argmax(axis=1)).mean() > 0.95


def test_a_score_does_not_depend_on_what_stands_beside_it(planted, fitted):
    some, small = headlines(planted, 20), live(fitted)
    together = small.scores(some.texts, some.sources)
    for i in (0, 7, 19):
        assert small.scores(some.texts[i : i + 1], some.sources[:1]).tobytes() == together[i : i + 1].tobytes()


def test_posts_of_two_labels_only_have_a_table_too(planted):
    some = headlines(planted, 400)
    two = some.at(np.flatnonzero(some.labels != 1))
    table = training.TableFit(two, ["wire"], np.random.default_rng(0))
    assert (table.logits(two).argmax(axis=1) == two.labels).mean() > 0.95


def test_the_table_hears_a_source_it_knows_and_no_other():
    texts = [f"{word} {name}" for word in ("soars", "sinks") for name in ("gold", "oil", "tin", "zinc")]
    says = np.array([2] * 4 + [0] * 4)
    both = training.Labelled(texts * 2, ["plain"] * 8 + ["ironic"] * 8, np.concatenate([says, 2 - says]), np.arange(16))
    table = training.TableFit(both, ["plain", "ironic"], np.random.default_rng(0))
    assert table.logits(both).argmax(axis=1).tolist() == both.labels.tolist()
    nobody = table.logits(both, source_known=False)
    assert nobody.tobytes() == table.logits(replace(both, sources=["a stranger"] * 16)).tobytes()
    assert nobody[:8].tobytes() == nobody[8:].tobytes()


def test_a_model_of_before_is_told(fitted):
    before = fitted.content() | {"known": [1.0, 0.0, 0.0, 0.0]}
    with pytest.raises(ArtifactError, match="train again"):
        encoder.PostEncoder(fitted.onnx()[1], fitted.tokenizer.to_str().encode(), before)


def test_odd_texts_have_scores(fitted):
    texts = ["", "x", "é", "\U0001f680" * 100, "word " * 80, "1" * 400, "比特币"]
    scores = live(fitted).scores(texts, ["wire"] * len(texts))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-9)


def tiny_encoder(folder):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["bitcoin", "buys", "halts", "rallies", "slides", "to", "of", "the", "a", "million", "fund"],
    ]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + list("abcdefghijklmnopqrstuvwxyz")
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder)


@pytest.mark.parametrize("frozen", [False, True])
def test_any_hugging_face_encoder_from_its_folder(planted, tmp_path, frozen):
    pytest.importorskip("transformers", reason="transformers is not installed: its encoders cannot be loaded")
    folder = tmp_path / "tiny"
    tiny_encoder(folder)
    some = headlines(planted, 240)
    trained = training.fit_posts(some, str(folder), 1, 7, 1, frozen)
    _, body = training.load_encoder(str(folder))
    moved = [
        name for (name, old), new in zip(body.named_parameters(), trained.net.reader.encoder.parameters(), strict=True)
        if not torch.equal(old, new)
    ]  # fmt: skip
    assert bool(moved) != frozen
    parts = importlib.import_module("onnx").load_from_string(trained.onnx()[1]).graph.initializer
    scales = {tuple(part.dims) for part in parts if "MatMul" in part.name and part.name.endswith("_scale")}
    assert scales == {(16,), (32,)}  # one for each column: one for all of them costs larger encoders points of accuracy
    assert "embeddings.word_embeddings.weight" not in moved
    found = live(trained, False).scores(some.texts[:30], some.sources[:30])
    np.testing.assert_allclose(found, trained.scores(some.at(np.arange(30))), atol=0.02)


def test_an_encoder_that_is_not_there_is_told(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="transformers is not installed: its encoders cannot be loaded")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="cannot be loaded"):
        training.load_encoder(str(tmp_path / "empty"))


def test_the_head_is_the_same_in_numpy_and_it_learns(monkeypatch):
    monkeypatch.setattr(training, "HEAD_WINDOWS", 12_000)
    draw = np.random.default_rng(2)
    labels = draw.integers(0, 3, 900)
    sure = np.where(draw.random(900) < 0.4, 0.97, 0.4)
    scores = np.repeat(((1 - sure) / 2)[:, None], 3, axis=1)
    scores[np.arange(900), np.where(sure > 0.9, labels, draw.integers(0, 3, 900))] = sure
    _, found = training.fit_head(scores, labels, 60, 7, 1)
    assert found["attention"] > max(found["plain mean"], found["newest post"])
    net = training.HeadNet().eval()
    features = draw.normal(size=(4, 6, model.FEATURES))
    with torch.no_grad():
        wanted = net(torch.tensor(features, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(net.plain().attention(features), wanted, atol=1e-5)


def test_near_duplicates_are_never_on_both_sides():
    texts = [f"Bitcoin at {price},000 dollars" for price in range(50)] + ["Ether rises today"] * 3
    folds = trainer.fold_of(np.array([text.group(words) for words in texts], object))
    assert len(set(folds[:50])) == 1
    assert len(set(folds[50:])) == 1


def test_without_news_it_is_off_and_with_too_few_it_says_so(tmp_path):
    run = Run.open(tmp_path, load_settings())
    assert "off" in trainer.train(run, Progress(quiet=True))[0]
    columns = {name: np.array([value], kind) for name, value, kind in (
        ("timestamp", np.nan, float), ("source", "a", object), ("text", "Bitcoin falls", object), ("label", -1.0, float),
        ("labelled_by", "human", object))}  # fmt: skip
    run.workspace.write("news_history", columns)
    with pytest.raises(PipelineError, match="1 labelled posts"):
        trainer.train(run, Progress(quiet=True))


def test_a_source_is_measured_whole_and_its_subset_apart():
    sources = np.array(["bank", "bank/all agree", "bank", "other"], object)
    kinds, blank = np.array(["human", "human", "human", "model"], object), np.full((4, 3), 1 / 3)
    measured = measure.Measured(np.array([0, 1, 2, 0]), sources, kinds, blank, blank, blank, np.zeros(4))
    found = {name: np.flatnonzero(rows).tolist() for name, rows in measure.scopes(measured).items()}
    assert found == {"bank": [0, 1, 2], "other": [3], "bank/all agree": [1], "pooled: human, 3 classes": [0, 1, 2]}


def test_the_lexicon_is_asked_for_no_label_that_a_source_lacks():
    sources = np.array(["three", "three", "three", "two", "two"], object)
    kinds, blank = np.full(5, "human", object), np.full((5, 3), 1 / 3)
    compound = np.array([-0.5, 0.0, 0.5, 0.02, -0.02])
    measured = measure.Measured(np.array([0, 1, 2, 2, 0]), sources, kinds, blank, blank, blank, compound)
    figures = Figures()
    measure.add_figures(figures, measured)
    told = figures.columns()
    rows = told["figure"] == "accuracy, beside the lexicon"
    beside = dict(zip(told["scope"][rows], told["baseline"][rows], strict=True))
    assert (beside["three"], beside["two"]) == (1.0, 1.0)


def test_figures_by_hand():
    labels = np.array([0, 1, 2, 2])
    assert measure.macro_f1(labels, np.array([0, 1, 2, 1])) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    sure = np.array([[0.1, 0.1, 0.8]] * 4)
    assert measure.calibration_error(sure, labels) == pytest.approx(0.3)
    assert encoder.Calibration((1.0, 1.0), (0.0, 0.0, 0.0)).probabilities(np.zeros((1, 2, 3))).tolist() == [[1 / 3] * 3]
    table, tokens = np.log([0.5, 0.3, 0.2]), np.log([0.1, 0.3, 0.6])
    weighed = encoder.Calibration.of([2.0, 1.0, 0.0, 0.0, np.log(3)])
    chances = np.array([0.25 * 0.1, 0.09 * 0.3, 0.04 * 0.6 * 3])
    assert weighed.probabilities(np.array([[table, tokens]]))[0] == pytest.approx(chances / chances.sum())
    assert encoder.Calibration.of(weighed.values) == weighed
