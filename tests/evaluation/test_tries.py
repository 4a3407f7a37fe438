"""The log of tries grows by itself, counts nothing twice, and forgets nothing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core import clock
from modules.core.errors import TableError
from modules.core.tables import Workspace
from modules.evaluation import tries
from modules.evaluation.tries import RESEARCH_COLUMNS, Try, key, record, tried


def a_try(name: str, sharpe: float = 0.1, trades: int = 40) -> Try:
    return Try("backtest", "fused rule", key(name), sharpe, 30, trades)


@pytest.fixture
def research(tmp_path: Path) -> Path:
    """A list of the research with nothing in it."""
    path = tmp_path / "research.csv"
    path.write_text(",".join(RESEARCH_COLUMNS) + "\n")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_before_the_first_try_there_is_one(workspace: Workspace, research: Path) -> None:
    found = tried(workspace, research)
    assert found.count == 1
    assert np.isnan(found.variance)
    assert not workspace.exists("tries")


def test_the_same_key_again_is_no_new_try(workspace: Workspace, research: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: 1_000)
    record(workspace, [a_try("one"), a_try("two", 0.3), a_try("one", 0.9)])
    before = workspace.path("tries").read_bytes()
    monkeypatch.setattr(clock, "now_ms", lambda: 2_000)
    record(workspace, [a_try("two", 0.7)])
    assert workspace.path("tries").read_bytes() == before
    record(workspace, [a_try("three", 0.2), a_try("two", 0.7)])
    assert workspace.path("tries").read_bytes().startswith(before)
    log = workspace.read("tries")
    assert log["key"].tolist() == [key("one"), key("two"), key("three")]
    assert log["timestamp"].tolist() == [1_000, 1_000, 2_000]
    assert log["sharpe"].tolist() == [0.1, 0.3, 0.2]
    found = tried(workspace, research)
    assert (found.count, found.variance) == (3, pytest.approx(np.var([0.1, 0.3, 0.2], ddof=1)))


def test_what_made_no_trade_is_logged_and_does_not_count(workspace: Workspace, research: Path) -> None:
    record(workspace, [a_try("one"), a_try("idle", np.nan, trades=0), a_try("a single day", np.nan)])
    assert len(workspace.read("tries")["key"]) == 3
    found = tried(workspace, research)
    assert found.count == 2
    assert np.isnan(found.variance)


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=4), max_size=5))
@settings(max_examples=25)
def test_the_count_is_that_of_different_keys_that_traded(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[int, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("tries")
    workspace, listed = Workspace(folder), folder / "research.csv"
    listed.write_text(",".join(RESEARCH_COLUMNS) + "\n")
    first: dict[int, int] = {}
    counts = []
    for run in runs:
        record(workspace, [a_try(str(name), trades=trades) for name, trades in run])
        for name, trades in run:
            first.setdefault(name, trades)
        counts.append(tried(workspace, listed).count)
    assert counts == sorted(counts)
    assert tried(workspace, listed).count == max(1, sum(trades > 0 for trades in first.values()))


def test_the_research_counts_too(workspace: Workspace, research: Path) -> None:
    with open(research, "a") as file:
        file.write('2026-01-01,"a, quoted",walk-forward,worse,no\n2026-01-02,b,walk-forward,better,yes\n')
    assert tried(workspace, research).count == 2
    record(workspace, [a_try("one"), a_try("two")])
    assert tried(workspace, research).count == 4


def test_the_list_that_comes_with_the_program_can_be_read(workspace: Workspace) -> None:
    assert tried(workspace).count == len(tries.RESEARCH.read_text().splitlines()) - 1 > 10


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "put it back"),
        ("", "its columns must be date, what"),
        ("date,what\n", "its columns must be date, what"),
        (",".join(RESEARCH_COLUMNS) + "\na,b,c,d,e\nshort,row\n", "row 3: 2 cells, not 5"),
        (",".join(RESEARCH_COLUMNS) + '\n"open,b,c,d,e\n', "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_read_is_no_empty_one(workspace: Workspace, tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TableError, match=told):
        tried(workspace, path)


def test_a_damaged_log_is_refused_and_left_alone(workspace: Workspace, research: Path) -> None:
    record(workspace, [a_try("one"), a_try("two")])
    damaged = workspace.path("tries").read_bytes().replace(b"backtest", b"guess", 1)
    workspace.path("tries").write_bytes(damaged)
    for act in (lambda: record(workspace, [a_try("three")]), lambda: tried(workspace, research)):
        with pytest.raises(TableError, match="row 2: what is 'guess'"):
            act()
    assert workspace.path("tries").read_bytes() == damaged


def test_a_key_tells_every_part_and_no_order_of_names() -> None:
    parts = [["backtest", "fused rule", {"fee": 0.001, "slippage": 0.0005}, ["abc"], 1, 2]]
    assert key(*parts[0]) == key("backtest", "fused rule", {"slippage": 0.0005, "fee": 0.001}, ["abc"], 1, 2)
    others = [
        ("walk_forward", *parts[0][1:]),
        (*parts[0][:2], {"fee": 0.001, "slippage": 0.0006}, *parts[0][3:]),
        (*parts[0][:3], ["abd"], 1, 2),
        (*parts[0][:5], 3),
    ]
    assert len({key(*other) for other in [*parts, *others]}) == 5
