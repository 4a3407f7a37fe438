"""All trainers in their order."""

from collections.abc import Sequence
from importlib import import_module

from modules.core import telemetry
from modules.core.errors import SettingsError
from modules.core.module import Run

DATA_ENGINE = "m1_data_engine"
TRAINERS = ("m4a_whale", "m4b_sentiment", DATA_ENGINE, "m2_regime", "m3_specialist", "m5_meta_fusion")
"""The training order: the rooms that are evidence for others come before them, whales and sentiment even before the
features, a family of which is made of them. All they need of module 1 are the candles, which are stored first."""


def train(run: Run, only: Sequence[str] = (), quiet: bool = False) -> int:
    """Train every room, or only some, and say what was written and what to do next.

    Raises
    ------
    SettingsError : a name in ``only`` is no trainer
    """
    unknown = [name for name in only if name not in TRAINERS]
    if unknown:
        raise SettingsError(f"--only {','.join(unknown)}: no such trainer; there are {', '.join(TRAINERS)}")
    if run.candles is not None and only and DATA_ENGINE not in only:
        raise SettingsError(f"--candles is what {DATA_ENGINE} learns from, and --only leaves it out")
    said: list[str] = []
    with run.workspace.held(), telemetry.Progress(quiet) as progress:
        if run.candles is not None:
            said += import_module(f"modules.{DATA_ENGINE}.trainer").store_candles(run, progress)
            run.candles = None
        for name in TRAINERS:
            if not only or name in only:
                # Imported here: the trainers bring scikit-learn, LightGBM and hmmlearn, which the live path never loads.
                said += import_module(f"modules.{name}.trainer").train(run, progress)
    telemetry.log(run.workspace.root, "trained " + ", ".join(only or TRAINERS))
    if not quiet:
        print("\n".join(said))
        print(
            f"wrote models/, scalers/, processed/ and performance/ under {run.workspace.root}\n"
            "next: --replay --candles FILE to see it decide minute by minute, or no flag for one live cycle"
        )
    return 0
