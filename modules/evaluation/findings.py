"""What a check of ``--analyze`` found: the rows of ``performance/analysis.csv``."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from modules.core.catalog import TABLES
from modules.core.tables import Columns, from_rows

PASS, FAIL, NOTE = "pass", "fail", "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    subject : the column, model or file
    value, what : the number that it was judged by, NaN where there is none, and what that number is
    n : values behind it
    """

    check: str
    subject: str
    verdict: str
    value: float
    what: str
    detail: str
    n: int


def table(findings: Sequence[Finding]) -> Columns:
    """The columns of the table ``analysis_stats``; a value that is not finite is an empty cell."""
    columns = from_rows(TABLES["analysis_stats"].columns, [astuple(finding) for finding in findings])
    return columns | {"value": np.where(np.isfinite(columns["value"]), columns["value"], np.nan)}
