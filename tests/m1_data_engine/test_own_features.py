"""The user's own features: tried beside ours, kept with the models, refused in words where they are broken."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modules.conductor.training import train
from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.m1_data_engine import predictor
from modules.m1_data_engine.features import registry
from tests.conftest import CONFIG, Desk
from tests.m1_data_engine.market import random_market

HEAD = "from modules.m1_data_engine.features.market import Feature\n"
MINE = HEAD + "FEATURES = (Feature('mine', 'my_shadow', 0, lambda m: (m['high'] - m['close']) / m['close']),)\n"


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    registry.use_own(())


def given(folder: Path, source: str, **more: str) -> Run:
    """A fresh workspace whose settings name a file of own features beside them."""
    (folder / "mine.py").write_text(source)
    config = folder / "own.toml"
    config.write_text(CONFIG.replace("[data]\n", '[data]\nown_features = "mine.py"\nmax_correlation = 1.0\nselect = 300\n'))
    return Run.open(folder / "workspace", load_settings(config))


def test_they_are_a_family_like_any_other() -> None:
    registry.use_own(registry.own_features(MINE.encode()))
    market = random_market(50)
    (mine,) = [feature for feature in registry.candidates() if feature.family == registry.OWN]
    assert registry.named(["my_shadow"]) == (mine,)
    expected = (market["high"] - market["close"]) / market["close"]
    assert np.array_equal(registry.compute(market, [mine])[:, 0], expected)
    registry.use_own(())
    assert not any(feature.family == registry.OWN for feature in registry.candidates())
    with pytest.raises(PipelineError, match="my_shadow"):
        registry.named(["my_shadow"])


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x =", "line 1: SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "must hold FEATURES"),
        ("FEATURES = ()", "must hold FEATURES"),
        ("FEATURES = (1,)", "must hold FEATURES"),
        (HEAD + "FEATURES = (Feature('', 'rsi_14', 1, len),)", "rsi_14 is taken"),
        (HEAD + "FEATURES = (Feature('', 'atr', 1, len),)", "atr is taken"),
        (HEAD + "FEATURES = (Feature('', 'a', 1, len), Feature('', 'a', 1, len))", "a is there twice"),
        (HEAD + "FEATURES = (Feature('', 'a,b', 1, len),)", "'a,b' is no name"),
        (HEAD + "FEATURES = (Feature('', 'a', 9_999, len),)", "a: warmup must be 0 to 2880 rows"),
        (HEAD + "FEATURES = (Feature('', 'a', 1, len, needs=('tea',)),)", "a needs tea: no such table"),
    ],
)
def test_a_broken_file_is_refused_in_words(source: str, told: str) -> None:
    with pytest.raises(PipelineError, match=r"mine\.py") as caught:
        registry.own_features(source.encode(), "mine.py")
    assert told in str(caught.value)


def test_a_feature_that_fails_is_named() -> None:
    market = random_market(20)
    for body, told in (("m['clse']", "a failed: KeyError"), ("m['close'][1:]", r"a gave \(19,\) values for 20 candles")):
        features = registry.own_features(f"{HEAD}FEATURES = (Feature('', 'a', 0, lambda m: {body}),)".encode(), "mine.py")
        with pytest.raises(PipelineError, match=f"mine.py: {told}"):
            registry.compute(market, features)


def test_what_is_not_finite_is_unknown(recwarn: pytest.WarningsRecorder) -> None:
    features = registry.own_features(f"{HEAD}FEATURES = (Feature('', 'a', 0, lambda m: m['close'] / (m['low'] * 0)),)".encode())
    assert np.isnan(registry.compute(random_market(5), features)).all()
    assert not recwarn


def test_what_was_trained_is_what_runs(tmp_path: Path, fresh: Desk) -> None:
    run = given(tmp_path, MINE)
    run.candles = fresh.learn
    train(run, ["m1_data_engine"], quiet=True)
    ranking = run.workspace.read("feature_ranking")
    (row,) = np.flatnonzero(ranking["feature"] == "my_shadow")
    assert (ranking["family"][row], ranking["selected"][row]) == ("own", 1)
    # The user's file changes or goes: the models keep the copy that they were trained with.
    (tmp_path / "mine.py").unlink()
    registry.use_own(())
    again = Run.open(tmp_path / "workspace", run.settings)
    assert "my_shadow" in predictor.scaling(again)[0]
    assert registry.named(["my_shadow"])
    with pytest.raises(PipelineError, match=r"mine\.py: cannot be read .* own_features names it"):
        train(again, ["m1_data_engine"], quiet=True)
    copy = again.workspace.root / "scalers" / "own_features.py"
    copy.write_text(MINE + "# changed\n")
    with pytest.raises(PipelineError, match="is not the file that"):
        predictor.scaling(Run.open(tmp_path / "workspace", run.settings))
