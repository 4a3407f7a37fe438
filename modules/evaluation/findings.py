"""What a check of ``--analyze`` found: the rows of ``performance/analysis.csv``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from modules.core.tables import Columns

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
    kinds = {"value": float, "n": np.int64}
    columns = {
        field.name: np.array([getattr(finding, field.name) for finding in findings], kinds.get(field.name, object))
        for field in fields(Finding)
    }
    return columns | {"value": np.where(np.isfinite(columns["value"]), columns["value"], np.nan)}
