"""Model files: only what the manifest vouches for is read, and a retraining is noticed."""

import json
import pickle

import pytest

from modules.core.artifacts import MANIFEST, Artifacts
from modules.core.errors import ArtifactError, NotTrainedError, PipelineError
from modules.core.tables import Workspace

SPAN = (60_000, 120_000)


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(Workspace(tmp_path))


def other(artifacts):
    """The same workspace as another process sees it."""
    return Artifacts(Workspace(artifacts.workspace.root))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_what_is_saved_comes_back(artifacts):
    artifacts.save_pickle("gmm_model", {"means": [1, 2]}, SPAN, ["a", "b"])
    artifacts.save_json("scaler_{k}_export", {"mean": 3}, SPAN, ["a"], 2)
    assert other(artifacts).load_pickle("gmm_model") == {"means": [1, 2]}
    assert other(artifacts).load_json("scaler_{k}_export", 2) == {"mean": 3}
    entry = other(artifacts).entry("scaler_{k}_export", 2)
    assert (entry["fitted_from"], entry["fitted_to"], entry["features"]) == (*SPAN, ["a"])
    assert entry["path"] == "scalers/scaler_2.json"
    assert sorted(artifacts.names()) == ["gmm_model", "scaler_2_export"]
    assert artifacts.check() == []


def test_a_changed_pickle_is_refused_by_name_and_never_read(artifacts, tmp_path):
    artifacts.save_pickle("gmm_model", {}, SPAN, [])
    went_off = tmp_path / "went_off"
    path = tmp_path / "models" / "gmm_model.pkl"
    path.write_bytes(pickle.dumps(Bomb(went_off)))
    with pytest.raises(ArtifactError, match=r"gmm_model\.pkl: is not the file that models/manifest\.json names"):
        artifacts.load_pickle("gmm_model")
    assert not went_off.exists()
    assert [fault.split(":")[0] for fault in artifacts.check()] == [str(path)]
    pickle.loads(path.read_bytes()).close()
    assert went_off.exists()  # the bomb was live


def test_a_missing_file_and_a_model_never_trained(artifacts, tmp_path):
    artifacts.save_pickle("gmm_model", {}, SPAN, [])
    (tmp_path / "models" / "gmm_model.pkl").unlink()
    with pytest.raises(ArtifactError, match=r"gmm_model\.pkl: cannot be read"):
        artifacts.load_pickle("gmm_model")
    with pytest.raises(ArtifactError, match="specialist_TREND_UP was never trained"):
        artifacts.load("specialist_{k}", "TREND_UP")
    assert len(artifacts.check()) == 1


def test_no_manifest_means_not_trained(artifacts):
    with pytest.raises(NotTrainedError, match="--train"):
        artifacts.load("gmm_model")
    assert artifacts.names() == artifacts.check() == []


@pytest.mark.parametrize("content", ["{", "[]", "7", '{"gmm_model": {"path": "x"}}', '{"gmm_model": 7}', b"\xff\xfe"])
def test_a_broken_manifest(artifacts, tmp_path, content):
    path = tmp_path / MANIFEST
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for act in (
        lambda: artifacts.load("gmm_model"),
        artifacts.names,
        lambda: artifacts.save("gmm_model", b"", SPAN, []),
    ):
        with pytest.raises(ArtifactError, match=r"manifest\.json: is no manifest"):
            act()


def test_once_reads_again_when_the_manifest_names_another_file(artifacts):
    artifacts.save_json("regime_export", 1, SPAN, [])
    reads = []
    resident = other(artifacts)
    for _ in range(3):
        assert resident.once("regime_export", None, lambda data: reads.append(data) or json.loads(data)) == 1
    assert reads == [b"1"]
    artifacts.save_json("regime_export", 2, SPAN, [])  # another process trains
    for _ in range(3):
        assert resident.once("regime_export", None, lambda data: reads.append(data) or json.loads(data)) == 2
    assert reads == [b"1", b"2"]
    artifacts.forget("m2_regime")
    with pytest.raises(NotTrainedError):
        resident.load("regime_export")


def test_two_writers_in_turn_keep_each_others_entries(artifacts):
    second = other(artifacts)
    artifacts.save("gmm_model", b"1", SPAN, [])
    second.save("hmm_model", b"2", SPAN, [])
    artifacts.save("warning_export", b"3", SPAN, [])
    assert set(other(artifacts).names()) == {"gmm_model", "hmm_model", "warning_export"}


def test_forget_drops_one_rooms_entries(artifacts):
    for name, k in (
        ("specialist_{k}", "A"),
        ("specialist_{k}_export", "A"),
        ("specialists_export", None),
        ("gmm_model", None),
    ):
        artifacts.save(name, b"", SPAN, [], k)
    artifacts.forget("m3_specialist")
    assert other(artifacts).names() == ["gmm_model"]


def test_drop_deletes_files_and_entries(artifacts, tmp_path):
    for k in "ABC":
        artifacts.save("version_{k}", b"", SPAN, [], k)
    artifacts.drop(["version_A", "version_C"])
    assert [path.name for path in (tmp_path / "models" / "versions").iterdir()] == ["specialist_B.txt"]
    assert other(artifacts).names() == artifacts.names() == ["version_B"]
    artifacts.drop([])


def test_a_manifest_that_cannot_be_written_is_not_remembered(artifacts, monkeypatch):
    artifacts.save("gmm_model", b"1", SPAN, [])

    def full(path, data):
        raise PipelineError("no room")

    monkeypatch.setattr("modules.core.artifacts.write_atomically", full)
    for act in (
        lambda: artifacts.save("hmm_model", b"", SPAN, []),
        lambda: artifacts.drop(["gmm_model"]),
        lambda: artifacts.forget("m2_regime"),
    ):
        with pytest.raises(PipelineError):
            act()
        assert artifacts.names() == other(artifacts).names() == ["gmm_model"]
    assert artifacts.load("gmm_model") == b"1"
