"""A workspace whose sentiment module is trained once a session, on planted news of the simulated market."""

import shutil

import numpy as np
import pytest

from modules.core import clock
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.telemetry import Progress
from modules.core.words import MINUTE_MS
from modules.m1_data_engine.simulated_market import simulate

MINUTES, LEARN = 24_000, 20_000
FILE = "data/news/posts.csv"
SMALL = {"sentiment": {"folds": 1, "epochs": 2, "file": FILE}}


def history(news, minutes):
    """Half the headlines labelled and without a date, the other half dated and without a label."""
    rows = np.flatnonzero(news["timestamp"] < minutes)
    dated = rows % 2 == 1
    return {
        "timestamp": np.where(dated, news["timestamp"][rows], np.nan),
        "source": news["source"][rows].astype(object),
        "text": news["text"][rows].astype(object),
        "label": np.where(dated, np.nan, news["label"][rows]),
        "labelled_by": np.full(len(rows), "planted", object),
    }


def write_file(root, news, rows):
    lines = ["timestamp,source,text"]
    for stamp, source, words in zip(*(news[name][rows] for name in ("timestamp", "source", "text")), strict=True):
        lines.append(f"{stamp},{source},{words}")
    (root / FILE).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def planted():
    return simulate(MINUTES, 11)


@pytest.fixture(scope="session")
def learned(planted, tmp_path_factory):
    """The trained workspace; nobody writes to it, see ``workspace``."""
    for name in ("torch", "onnx", "onnxruntime", "tokenizers", "sklearn"):
        pytest.importorskip(name, reason=f"{name} is not installed: the sentiment model cannot be trained")
    from modules.m4b_sentiment import trainer, training

    root = tmp_path_factory.mktemp("sentiment")
    run = Run.open(root, load_settings(None, SMALL))
    run.workspace.write("candles_history", {name: values[:LEARN] for name, values in planted.candles.items()})
    run.workspace.write("news_history", history(planted.news, planted.candles["timestamp"][LEARN]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "HEAD_WINDOWS", 4_800)
        patch.setattr(training, "MIN_STEPS", 200)
        said = trainer.train(run, Progress(quiet=True))
    write_file(root, planted.news, np.arange(len(planted.news["timestamp"])) % 2 == 1)
    return root, said


@pytest.fixture
def workspace(learned, tmp_path):
    root = tmp_path / "workspace"
    shutil.copytree(learned[0], root)
    return root


@pytest.fixture
def now(monkeypatch):
    """What the clock says, a list of one number that a test may set."""
    said = [0]
    monkeypatch.setattr(clock, "now_ms", lambda: said[0])
    return said


@pytest.fixture
def opened(workspace, now):
    """Open the workspace with settings of the sentiment section, at a time."""

    def open_run(at, **sentiment):
        now[0] = int(at)
        return Run.open(workspace, load_settings(None, {"sentiment": {**SMALL["sentiment"], "attempts": 1, **sentiment}}))

    return open_run


@pytest.fixture
def stamps(planted):
    """Open times of the simulated candles."""
    assert planted.candles["timestamp"][1] - planted.candles["timestamp"][0] == MINUTE_MS
    return planted.candles["timestamp"]
