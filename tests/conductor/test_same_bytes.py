"""Same input, same bytes; and where a replay was stopped and started is not to be seen."""

import pytest

from tests.conftest import TRAINING_MINUTES

MINUTE = 60_000


def assert_same(one, other) -> None:
    one, other = one.files(), other.files()
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.slow
def test_training_twice_gives_the_same_files(trained, fresh_once, tmp_path):
    again = fresh_once.copy(tmp_path / "elsewhere")
    assert again.call("--train", "--quiet", "--candles", again.learn).returncode == 0
    assert_same(trained, again)
    assert len([name for name in again.files() if name.startswith(("models/", "scalers/"))]) > 30
    # In the same folder, over what is there. No new version of a model comes of it.
    assert again.call("--train", "--quiet", "--candles", again.learn).returncode == 0
    assert_same(trained, again)


def test_a_replay_in_three_goes_is_the_replay_in_one(trained, tmp_path):
    in_three = trained.copy(tmp_path / "in_three")
    assert trained.replay("--minutes", 100).returncode == 0
    for minutes in (1, 38, 61):
        assert in_three.replay("--minutes", minutes).returncode == 0
    assert_same(trained, in_three)
    assert len(trained.open().workspace.read("trade_logs")["timestamp"]) >= 2


def test_a_replay_with_nothing_left_to_do_changes_nothing(trained):
    until = ("--to", "2024-01-07T22:50")
    assert trained.replay(*until).returncode == 0
    before = trained.files()
    done = trained.replay(*until)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert trained.files() == before


def test_history_that_the_file_follows_without_a_gap_is_its_warm_up(trained, market):
    assert trained.replay("--minutes", 1).returncode == 0
    tables = trained.open().workspace
    first = int(market.candles["timestamp"][TRAINING_MINUTES])
    assert tables.read("final_signals")["timestamp"].tolist() == [first]
    assert tables.read("candles_live")["timestamp"][0] < first - 2_000 * MINUTE


def following(desk, skipped: int) -> None:
    """Leave out the first candles of the file that follows."""
    lines = desk.follow.read_text().splitlines(keepends=True)
    desk.follow.write_text("".join(lines[:1] + lines[1 + skipped :]))


def test_a_file_that_does_not_follow_warms_up_from_its_own_beginning(trained, market):
    following(trained, 1)
    done = trained.replay()
    assert done.returncode == 0
    assert "too early for the warm-up" in done.stdout, "600 candles are too few to begin with"
    assert not trained.open().workspace.exists("final_signals")

    # A longer one: the training candles of another year, and what follows them.
    lines = trained.learn.read_text().splitlines()[4_000:] + trained.follow.read_text().splitlines()[1:]
    header = trained.follow.read_text().splitlines()[0]
    year = 365 * 24 * 60 * MINUTE
    moved = [f"{int(line.split(',')[0]) + year},{line.split(',', 1)[1]}" for line in lines]
    trained.follow.write_text("\n".join([header, *moved]) + "\n")
    assert trained.replay("--minutes", 2).returncode == 0
    tables = trained.open().workspace
    file_begins = int(moved[0].split(",")[0])
    assert tables.read("candles_live")["timestamp"][0] >= file_begins
    warm_up = (tables.read("final_signals")["timestamp"][0] - file_begins) // MINUTE
    assert 1_440 <= warm_up <= 2_940, "neither sooner than the features are warm, nor later"
    assert tables.read("final_signals")["status"].tolist() == ["ok", "ok"]


def test_a_file_that_begins_after_a_gap_is_joined_as_soon_as_it_is_warm(replayed):
    """The next month's file, a week late: no minute is decided on candles from before the gap."""
    decided = replayed.open().workspace.newest("final_signals")
    lines = replayed.learn.read_text().splitlines()
    week = (decided - int(lines[1].split(",")[0])) + 7 * 24 * 60 * MINUTE
    moved = [f"{int(line.split(',')[0]) + week},{line.split(',', 1)[1]}" for line in lines[1:4_000]]
    replayed.follow.write_text("\n".join([lines[0], *moved]) + "\n")
    assert replayed.replay("--minutes", 2).returncode == 0
    tables = replayed.open().workspace
    final = tables.read("final_signals")
    assert final["timestamp"][-3] == decided
    assert final["timestamp"][-2] >= int(moved[0].split(",")[0]) + 1_440 * MINUTE
    assert replayed.call("--check").returncode == 0
