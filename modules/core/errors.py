"""The one tree of exceptions. Every error is written for the user: what is wrong, where, what to do."""

from collections.abc import Sequence


class PipelineError(Exception):
    """Anything that the user can be told in plain words. The front door prints it without a traceback and exits 1."""


class SettingsError(PipelineError):
    """A setting is unknown, of the wrong type or out of its range."""


class TableError(PipelineError):
    """A file does not hold what the catalog declares. Lists every fault of the file at once.

    Parameters
    ----------
    path : where the file lies, as the user knows it
    faults : one sentence a fault, each naming its row where it has one
    """

    SHOWN = 20

    def __init__(self, path: object, faults: Sequence[str]):
        self.path = str(path)
        self.faults = list(faults)
        shown = [f"  - {fault}" for fault in self.faults[: self.SHOWN]]
        if len(self.faults) > self.SHOWN:
            shown.append(f"  - ... and {len(self.faults) - self.SHOWN} more")
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{self.path}: {count}", *shown]))


class ArtifactError(PipelineError):
    """A model file is missing, or is not the one that the manifest names."""


class NotTrainedError(PipelineError):
    """The workspace has no models yet."""

    def __init__(self, workspace: object):
        super().__init__(
            f"{workspace} holds no trained models: run `python run_pipeline.py --train --candles FILE` first"
            " (or `python run_pipeline.py --demo` to see it on the simulated market)"
        )


class SourceError(PipelineError):
    """An outside source (exchange, chain, news) did not answer, or answered in another shape than it declares."""


class WorkspaceBusyError(PipelineError):
    """Another process holds the workspace."""


class InputNotReady(PipelineError):
    """A module's input row is missing, stale or a fallback: the module writes its own fallback and says why."""
