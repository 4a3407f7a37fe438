"""Every file of the workspace against the catalog."""

from modules.core.catalog import TABLES
from modules.core.errors import TableError
from modules.core.module import Run


def check(run: Run) -> int:
    """Read every table and hash every model; print all faults at once. 0 where there is none, else 1."""
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
    models = run.artifacts.names()
    faults += run.artifacts.check()
    if faults:
        print("\n".join(faults))
        print(f"{len(faults)} of {tables} tables and {len(models)} model files are not as the catalog says")
        return 1
    print(f"{tables} tables and {len(models)} model files: all as the catalog says")
    return 0
