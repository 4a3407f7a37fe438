"""A training between two minutes: other features are selected, and the next cycle knows."""

from modules.core.catalog import TABLES


def last(desk, table="final_signals"):
    row = desk.open().workspace.read(table, last=1)
    return {name: values[0] for name, values in row.items()}


def with_other_features(desk) -> None:
    desk.config.write_text(desk.config.read_text().replace("[data]", "[data]\nselect = 9"))


def check(desk) -> None:
    done = desk.call("--check")
    assert done.returncode == 0, done.stdout


def test_the_minute_after_a_whole_training_decides_with_the_new_models(replayed):
    before = last(replayed, "live_features")
    with_other_features(replayed)
    assert replayed.call("--train", "--quiet", "--candles", replayed.learn).returncode == 0
    done = replayed.replay("--minutes", 3)
    assert done.returncode == 0, done.stdout
    after = last(replayed, "live_features")
    assert after["timestamp"] == before["timestamp"] + 3 * 60_000
    assert len(after) == len(before) - 6
    assert last(replayed)["status"] == "ok"
    check(replayed)
    # What the rows under the old features said is not lost, and each stamp stands in the whole past once.
    past = replayed.open().workspace.archived("live_features")["timestamp"]
    assert past[0] <= before["timestamp"] - 149 * 60_000
    assert set((past[1:] - past[:-1]).tolist()) == {60_000}


def test_features_trained_alone_void_the_decisions_until_the_rest_is_trained(replayed):
    # More of them, so that all that the old models ask for is still there: by its name alone, for all they know.
    before = set(last(replayed, "live_features"))
    replayed.config.write_text(replayed.config.read_text().replace("[data]", "[data]\nselect = 40"))
    assert replayed.room("m1_data_engine.trainer", "--candles", str(replayed.learn)).returncode == 0
    assert replayed.replay("--minutes", 1).returncode == 3
    row = last(replayed)
    assert row["signal"] == "NEUTRAL"
    assert row["status"].startswith("fallback: ")
    assert "train" in last(replayed, "current_regime")["status"]
    assert before < set(last(replayed, "live_features"))
    check(replayed)
    assert replayed.call("--train", "--quiet", "--only", "m2_regime,m3_specialist,m5_meta_fusion").returncode == 0
    assert replayed.replay("--minutes", 1).returncode == 0
    check(replayed)


def test_rooms_that_were_not_retrained_keep_their_models(replayed):
    before = replayed.files()
    assert replayed.call("--train", "--quiet", "--only", "m5_meta_fusion").returncode == 0
    changed = {name for name, data in replayed.files().items() if before.get(name) != data}
    assert changed == set(), "the same history gives the same fusion"
    assert {TABLES["fusion_stats"].path, "models/meta_fusion.json"} <= set(before)
