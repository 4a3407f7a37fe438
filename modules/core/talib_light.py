"""TA-Lib without pandas and polars: ``from modules.core.talib_light import talib``.

``import talib`` imports pandas (and polars, where installed) only to accept their Series as arguments. The live cycle
passes numpy arrays and starts once a minute: measured on two cores, numpy already loaded, ``import talib`` takes
130 ms as it comes (with pandas 3.0 installed) and 5 ms without. So both are hidden while TA-Lib is imported, and
visible again right after: a later ``import pandas`` works. TA-Lib loaded this way takes numpy arrays only.

Import it while the program starts, not beside a thread that may be importing pandas at that very moment.
"""

import importlib
import sys
from typing import Any

_HIDDEN: tuple[str, ...] = ("pandas", "polars")


def _load() -> Any:
    """TA-Lib; as it comes where it, pandas or polars is loaded already, for then there is nothing left to save."""
    if any(name in sys.modules for name in ("talib", *_HIDDEN)):
        return importlib.import_module("talib")
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(_HIDDEN))  # None makes an import raise ModuleNotFoundError
    try:
        return importlib.import_module("talib")
    finally:
        for name in _HIDDEN:
            del modules[name]


talib = _load()
