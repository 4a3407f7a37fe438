"""The check for looking ahead, and for warm-ups, on anything that turns N rows into N rows.

``inputs`` is a dict of arrays of equal length (a table's columns); ``compute`` turns such a dict into (N,) or (N, K).
Each check returns its faults, one sentence each, so that a test can also show that a planted fault is found.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

Inputs = dict[str, np.ndarray]
Compute = Callable[[Inputs], np.ndarray]


def rows_of(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Rows start .. stop-1, copied, so that nothing outside them can be reached."""
    return {name: values[start:stop].copy() for name, values in inputs.items()}


def same_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two float64 arrays hold the same bits; any NaN equals any NaN."""
    equal = np.ascontiguousarray(one).view(np.int64) == np.ascontiguousarray(other).view(np.int64)
    return equal | (np.isnan(one) & np.isnan(other))


def future_faults(
    compute: Compute, inputs: Inputs, other: Inputs, cuts: Iterable[int], names: Sequence[str] = ("the value",)
) -> list[str]:
    """Columns whose rows before a cut change, in any bit, when the rows from the cut on are removed or replaced.

    Parameters
    ----------
    other : another valid history of the same length, whose rows from the cut on replace those of ``inputs``
    cuts : 0 < cut < N
    names : one a column of the result
    """
    full = _table(compute(inputs))
    faults = []
    for cut in cuts:
        past = rows_of(inputs, 0, cut)
        futures = {
            "is cut off": past,
            "changes": {name: np.concatenate((past[name], other[name][cut:])) for name in inputs},
        }
        for what, changed in futures.items():
            equal = same_bits(_table(compute(changed))[:cut], full[:cut])
            for column in np.flatnonzero(~equal.all(axis=0)):
                row = int(np.flatnonzero(~equal[:, column])[0])
                faults.append(f"{names[column]}: row {row} changes when the future from row {cut} on {what}")
    return faults


def warmup_faults(
    compute: Compute,
    inputs: Inputs,
    warmup: int,
    ends: Iterable[int],
    names: Sequence[str] = ("the value",),
    least_scale: float = 0.0,
    tolerance: float = 1e-9,
) -> list[str]:
    """Columns whose row differs when only it and the ``warmup`` rows before it are known, as in the live buffer.

    The difference is measured on the column's scale: its standard deviation, its size or ``least_scale``, whichever is
    greatest.

    Parameters
    ----------
    ends : each the row after the one looked at, greater than ``warmup``
    least_scale : what the column usually varies by, for inputs on which it hardly does
    """
    full = _table(compute(inputs))
    scale = np.array([max(least_scale, _deviation(column)) for column in full.T])
    faults = []
    for end in ends:
        served = _table(compute(rows_of(inputs, end - warmup - 1, end)))[-1]
        trained = full[end - 1]
        allowed = tolerance * np.maximum(scale, np.abs(trained))
        for column in np.flatnonzero(~(np.abs(served - trained) <= allowed)):
            faults.append(
                f"{names[column]}: row {end - 1} is {trained[column]!r} in the history, {served[column]!r} from the"
                f" {warmup + 1} rows that its warm-up asks for"
            )
    return faults


def _table(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _deviation(column: np.ndarray) -> float:
    known = column[np.isfinite(column)]
    return float(known.std()) if len(known) else 0.0
