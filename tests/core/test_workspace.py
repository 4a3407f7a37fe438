"""Many writes: kills, full disks, archives, a cache beside other processes, and one holder at a time."""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import START, part, plain, same

from modules.core import catalog, tables
from modules.core.catalog import TABLES
from modules.core.errors import PipelineError, TableError, WorkspaceBusyError
from modules.core.tables import SLACK, Workspace, write_atomically
from modules.core.words import MINUTE_MS

REPOSITORY = Path(__file__).parents[2]
NAME = "current_regime"
KEEP = TABLES[NAME].keep


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def child(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


# A file is replaced whole or not at all

WRITES = """
import sys
from pathlib import Path
from modules.core.tables import write_atomically
print("go", flush=True)
for i in range(10**9):
    write_atomically(Path(sys.argv[1]), b"%d" % (i % 10) * 500_000)
"""


def test_a_kill_amid_writes_leaves_a_whole_file(tmp_path):
    path = tmp_path / "folder" / "table.csv"
    for wait in (0.01, 0.03, 0.05):
        writer = child(WRITES, path)
        writer.stdout.readline()
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        if path.is_file():
            data = path.read_bytes()
            assert len(data) == 500_000
            assert len(set(data)) == 1
        assert list(tmp_path.rglob("*.csv")) in ([], [path])
    write_atomically(path, b"whole")
    assert content(tmp_path) == {"folder/table.csv": b"whole"}  # what a kill left behind is used up by the next write


FULL = """
import resource, signal, sys
from pathlib import Path
from modules.core.errors import PipelineError
from modules.core.tables import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"new" * 1000)
except PipelineError as error:
    print(error)
"""


def test_no_room_for_a_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    said, _ = child(FULL, path).communicate()
    assert f"{path}: cannot be written (File too large); the file that was there is untouched" in said
    assert content(tmp_path) == {"table.csv": b"old"}


@pytest.mark.parametrize("fault", [errno.EROFS, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses(tmp_path, monkeypatch, fault, step):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")

    def refuse(*_arguments):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(tables.os, step, refuse)
    if fault == errno.EROFS:
        monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PipelineError, match="cannot be written"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "processed").write_bytes(b"a file")
    with pytest.raises(PipelineError, match="cannot be written"):
        Workspace(tmp_path).append(NAME, plain(TABLES[NAME], 1))
    assert content(tmp_path) == {"processed": b"a file"}


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / TABLES[NAME].path).mkdir(parents=True)
    with pytest.raises(PipelineError, match="cannot be written"):
        Workspace(tmp_path).append(NAME, plain(TABLES[NAME], 1))
    assert content(tmp_path) == {}


def test_a_failed_append_leaves_the_cache_as_the_disk(tmp_path, monkeypatch):
    workspace, rows = Workspace(tmp_path), plain(TABLES[NAME], 4)
    workspace.append(NAME, part(rows, 0, 3))
    workspace.read(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(tables.os, "fsync", lambda _file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(PipelineError):
            workspace.append(NAME, part(rows, 3, 4))
    assert same(workspace.read(NAME), Workspace(tmp_path).read(NAME))
    assert workspace.newest(NAME) == rows["timestamp"][2]


# A live table and its archive


def fill(root, rows, sizes):
    """Append rows in batches of these sizes, over and over."""
    workspace, at, turn = Workspace(root), 0, 0
    while at < len(rows["timestamp"]):
        workspace.append(NAME, part(rows, at, at + sizes[turn % len(sizes)]))
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return workspace


@pytest.fixture
def small(monkeypatch):
    """Live tables of 20 rows, evicted by sixes: the same rules, sooner. Nothing here asks for a synced disk."""
    monkeypatch.setitem(catalog.TABLES, NAME, tables.TABLES[NAME].__class__(**(vars(TABLES[NAME]) | {"keep": 20})))
    monkeypatch.setattr(tables, "SLACK", 6)
    monkeypatch.setattr(tables.os, "fsync", lambda _file: None)


def test_the_newest_stay_and_the_older_go_to_the_archive(tmp_path):
    count = KEEP + 3 * SLACK + 7
    rows = plain(TABLES[NAME], count, START + 1000 * MINUTE_MS)
    workspace = fill(tmp_path, rows, [KEEP - 5, 1, 1, 1, SLACK, 200])
    live = workspace.read(NAME)
    assert KEEP <= len(live["timestamp"]) < KEEP + SLACK
    assert same(live, part(workspace.archived(NAME), count - len(live["timestamp"]), count))
    assert list(workspace.archived(NAME)["timestamp"]) == list(rows["timestamp"])
    assert sorted(path.name for path in (tmp_path / "processed" / "archive" / NAME).iterdir()) == ["2024-04-01.csv"]
    assert workspace.newest(NAME) == rows["timestamp"][-1]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("sizes", [[2], [7], [1, 30], [100]])
def test_batches_leave_the_bytes_of_single_rows(tmp_path, sizes):
    rows = plain(TABLES[NAME], 100, START + 1380 * MINUTE_MS)  # midnight comes after an hour: two archive files
    fill(tmp_path / "singly", rows, [1])
    fill(tmp_path / "batches", rows, sizes)
    assert content(tmp_path / "batches") == content(tmp_path / "singly")
    assert len(content(tmp_path / "singly")) == 3


class Killed(BaseException):
    pass


def live_through(root, rows, change):
    """Each row in its minute; with ``change`` each is first written as a fallback, as by a run that was cut off."""
    workspace = Workspace(root)
    for at in range(len(rows["timestamp"])):
        row = part(rows, at, at + 1)
        if change:
            workspace.append(NAME, row | {"status": np.array(["fallback: late"], object)})
        workspace.append(NAME, row)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("change", [False, True])
def test_a_kill_at_any_write_leaves_no_trace(tmp_path, monkeypatch, change, batch):
    rows = plain(TABLES[NAME], 40, START + 1431 * MINUTE_MS)  # the second eviction holds rows of two days
    whole, writes = tables.write_atomically, []
    dies_at = 0

    def counted(path, data):
        writes.append(path)
        if len(writes) == dies_at:
            raise Killed
        whole(path, data)

    monkeypatch.setattr(tables, "write_atomically", counted)
    live_through(tmp_path / "undisturbed", rows, change)
    wanted = content(tmp_path / "undisturbed")
    archived = [number for number, path in enumerate(writes, 1) if "archive" in str(path)]
    assert len(archived) == 4
    for dies_at in sorted({2} | {number + by for number in archived for by in (-1, 0, 1, 2)}):
        writes.clear()
        root = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            live_through(root, rows, change)
        dies_at = 0
        workspace = Workspace(root)
        for at in range(int(np.searchsorted(rows["timestamp"], workspace.newest(NAME))), 40, batch):
            workspace.append(NAME, part(rows, at, at + batch))
        assert content(root) == wanted


def test_the_same_again_touches_nothing(tmp_path):
    workspace, rows = Workspace(tmp_path), plain(TABLES[NAME], 10)
    workspace.append(NAME, rows)
    before = tables.signature(workspace.path(NAME))
    for again in (part(rows, 9, 10), part(rows, 2, 5), rows, part(rows, 0, 0)):
        workspace.append(NAME, again)
        Workspace(tmp_path).append(NAME, again)
    assert tables.signature(workspace.path(NAME)) == before


def test_a_row_is_replaced_and_newer_ones_stay(tmp_path):
    workspace, rows = Workspace(tmp_path), plain(TABLES[NAME], 10)
    workspace.append(NAME, rows)
    workspace.read(NAME)
    two = {key: values[[3, 6]] for key, values in rows.items()}
    workspace.append(NAME, two | {"status": np.array(["fallback: a", "fallback: b"], object)})
    expected = ["ok"] * 3 + ["fallback: a", "ok", "ok", "fallback: b"] + ["ok"] * 3
    for reader in (workspace, Workspace(tmp_path)):
        assert list(reader.read(NAME)["status"]) == expected
        assert list(reader.read(NAME)["timestamp"]) == list(rows["timestamp"])


@pytest.mark.usefixtures("small")
def test_a_row_of_the_archive_replaced_drops_no_other(tmp_path):
    rows = plain(TABLES[NAME], 60)
    workspace = fill(tmp_path, rows, [1])
    late = part(rows, 4, 5) | {"status": np.array(["fallback: late"], object)}
    workspace.append(NAME, late)
    after = plain(TABLES[NAME], 60, START + 60 * MINUTE_MS)
    for at in range(60):
        workspace.append(NAME, part(after, at, at + 1))
    past = workspace.archived(NAME)
    assert list(past["timestamp"]) == [*rows["timestamp"], *after["timestamp"]]
    assert list(np.flatnonzero(past["status"] != "ok")) == [4]


def test_other_columns_send_the_old_rows_to_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.os, "fsync", lambda _file: None)
    name = "live_features"
    rows = plain(TABLES[name], 30)
    renamed = {("new" if key == "rsi_14" else key): values for key, values in rows.items()}
    workspace = Workspace(tmp_path)
    workspace.append(name, part(rows, 0, 12))
    workspace.append(name, part(renamed, 11, 20))
    assert list(workspace.read(name)) != list(rows)
    assert "rsi_14" not in workspace.read(name)
    assert list(workspace.read(name)["timestamp"]) == list(rows["timestamp"][11:20])
    workspace.append(name, part(rows, 20, 25))
    workspace.append(name, part(renamed, 25, 30))
    past = workspace.archived(name)
    assert list(past["timestamp"]) == list(rows["timestamp"])
    assert set(rows) - set(past) == {"rsi_14"}
    files = sorted(path.name for path in (tmp_path / "processed" / "archive" / name).iterdir())
    assert len(files) == 2  # one for each set of columns that the day had
    assert files[0] == "2024-04-01.csv"


def test_archived_without_a_table(tmp_path):
    assert Workspace(tmp_path).archived(NAME) == {}


# What is remembered never differs from the disk

step = st.one_of(
    st.tuples(st.just("append"), st.integers(-6, 3), st.integers(1, 9)),
    st.tuples(st.just("read"), st.none() | st.integers(0, 40), st.none()),
    st.tuples(st.just("elsewhere"), st.integers(-6, 3), st.integers(1, 9)),
    st.tuples(st.just("write"), st.integers(1, 30), st.none()),
    st.tuples(st.just("delete"), st.none(), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(step, min_size=3, max_size=14), seed=st.integers(0, 99))
def test_the_memory_never_differs_from_the_disk(steps, seed):
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        small_table = TABLES[NAME].__class__(**(vars(TABLES[NAME]) | {"keep": 20}))
        patch.setitem(catalog.TABLES, NAME, small_table)
        patch.setattr(tables, "SLACK", 6)
        patch.setattr(tables.os, "fsync", lambda _file: None)
        workspace, fresh = Workspace(Path(folder)), lambda: Workspace(Path(folder))
        for what, first, count in steps:
            if what in ("append", "elsewhere"):
                newest = fresh().newest(NAME) or START
                rows = plain(small_table, count, max(START, newest + first * MINUTE_MS))
                rows["confidence"] = np.array([chance.choice([0.25, 0.75]) for _ in range(count)])
                (workspace if what == "append" else fresh()).append(NAME, rows)
            elif what == "write":
                workspace.write(NAME, plain(small_table, first))
            elif what == "delete":
                fresh().path(NAME).unlink(missing_ok=True)
            if fresh().exists(NAME):
                last = first if what == "read" else chance.choice([None, 1, 3])
                assert same(workspace.read(NAME, last=last), fresh().read(NAME, last=last))
                assert workspace.newest(NAME) == fresh().newest(NAME)
            else:
                with pytest.raises(TableError):
                    workspace.read(NAME)


def test_what_is_remembered_cannot_be_changed_by_a_reader(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.append(NAME, plain(TABLES[NAME], 3))
    workspace.read(NAME)
    workspace.append(NAME, plain(TABLES[NAME], 4))
    for key, values in workspace.read(NAME).items():
        with pytest.raises(ValueError, match="read-only"):
            values[0] = values[1]
        assert key


# One holder at a time

HOLDS = """
import sys, time
from pathlib import Path
from modules.core.tables import Workspace
with Workspace(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_holds_the_workspace_until_it_dies(tmp_path):
    holder = child(HOLDS, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(WorkspaceBusyError, match="another run is at work"), Workspace(tmp_path).held():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with Workspace(tmp_path).held():
        pass
    with Workspace(tmp_path).held():
        pass


def test_a_workspace_that_cannot_be_held(tmp_path):
    (tmp_path / "logs").write_bytes(b"a file")
    with pytest.raises(PipelineError, match="cannot be opened"), Workspace(tmp_path).held():
        pass
