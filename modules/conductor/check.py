"""Every file of the workspace against the catalog."""

import sqlite3
from contextlib import closing
from pathlib import Path

from modules.core.catalog import TABLES
from modules.core.errors import ArtifactError, PipelineError, TableError
from modules.core.module import Run
from modules.m6_executor.ledger import PATH


def check(run: Run) -> int:
    """Read every table and the ledger, hash every model; print all faults at once. 0 where there is none, else 1.

    Raises
    ------
    PipelineError : the workspace is no folder
    """
    if not run.workspace.root.is_dir():
        raise PipelineError(f"{run.workspace.root}: is no folder; give the workspace with --workspace DIR")
    faults: list[str] = []
    tables = 0
    for name, table in TABLES.items():
        numbers: list[int | None] = [None]
        if table.numbered:
            numbers = []
            while run.workspace.exists(name, len(numbers)):
                numbers.append(len(numbers))
        for k in numbers:
            if not run.workspace.exists(name, k):
                continue
            tables += 1
            try:
                run.workspace.read(name, k)
                if table.keep and k is None:
                    run.workspace.archived(name)
            except TableError as error:
                faults.append(str(error))
    models: list[str] = []
    try:
        models = run.artifacts.names()
        faults += run.artifacts.check()
    except ArtifactError as error:
        faults.append(str(error))
    faults += _ledger_faults(run.workspace.root / PATH)
    if faults:
        print("\n".join(faults))
        print(f"{len(faults)} fault(s) in {tables} tables, {len(models)} model files and the ledger")
        return 1
    print(f"{tables} tables and {len(models)} model files: all as the catalog says")
    return 0


def _ledger_faults(path: Path) -> list[str]:
    """What SQLite finds amiss in the paper ledger; nothing where there is none yet."""
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as ledger:
            told = [str(line) for (line,) in ledger.execute("PRAGMA quick_check")]
    except sqlite3.Error as error:
        told = [str(error)]
    return [f"{path}: {line}" for line in told if line != "ok"]
