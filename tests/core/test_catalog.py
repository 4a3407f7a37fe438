"""The catalog: what it declares is whole, and the page for people says the same."""

from modules.core.catalog import ARTIFACTS, EVIDENCE, TABLES, describe
from modules.core.module import REPOSITORY


def test_the_page_for_people_is_the_catalog():
    assert (REPOSITORY / "docs" / "TABLES.md").read_text() == describe(), "python -m modules.core.catalog > docs/TABLES.md"


def test_no_two_tables_or_files_share_a_path():
    paths = [entry.path for entry in (*TABLES.values(), *ARTIFACTS.values())]
    assert len(paths) == len(set(paths))


def test_live_tables_have_a_stamp_and_end_with_their_status():
    for table in TABLES.values():
        if table.keep:
            names = [column.name for column in table.columns]
            assert names[0] == "timestamp", table.name
            assert names[-1] == "status", table.name


def test_evidence_has_a_history_of_the_same_columns():
    for evidence in EVIDENCE:
        live, history = TABLES[evidence.table], TABLES[TABLES[evidence.table].history]
        assert set(evidence.neutral) <= {column.name for column in live.columns}
        assert set(evidence.neutral) <= {column.name for column in history.columns}
