"""``--analyze``: does anything in the trained pipeline cheat? All checks of this room, one table, one verdict."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from modules.core import catalog
from modules.core.errors import NotTrainedError, PipelineError
from modules.core.module import Run
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.evaluation import leakage, lookahead, parity, refit
from modules.evaluation.batch import with_history
from modules.evaluation.findings import FAIL, NOTE, Finding, table
from modules.m1_data_engine import predictor as m1_live
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Feature, Market
from modules.m1_data_engine.model import market_of
from modules.m1_data_engine.trainer import history_extras, own_source

CHEATS = 4
"""Exit code where something cheats."""
SHOWN = 20
"""Faults of a check that are printed; the table has all."""


@dataclass(frozen=True)
class Subject:
    """What is analysed: a trained workspace, candles to run it on, and the candidates that can be made of them."""

    run: Run
    candles: Columns

    @cached_property
    def market(self) -> Market:
        return self.market_of(self.candles)

    @cached_property
    def history(self) -> Market:
        """What was learned from."""
        return self.market_of(self.run.workspace.read("candles_history"))

    @cached_property
    def features(self) -> Sequence[Feature]:
        return registry.candidates(self.market.extras)

    def market_of(self, candles: Columns) -> Market:
        return market_of(candles, history_extras(self.run, candles["timestamp"]))


Check = Callable[[Subject, Progress], list[Finding]]
CHECKS: dict[str, Check] = {
    lookahead.LOOK_AHEAD: lambda it, progress: lookahead.check_look_ahead(it.run, it.market, it.features, progress),
    lookahead.WARM_UP: lambda it, progress: lookahead.check_warm_up(it.run, it.market, it.features, progress),
    parity.PARITY: lambda it, progress: parity.check_parity(it.run, it.candles, progress),
    leakage.LEAKAGE: lambda it, progress: leakage.check_leakage(it.run.settings.labels, it.history, it.features, progress),
    refit.SCALERS: lambda it, progress: refit.check_scalers(it.run, progress),
    refit.FITTED: lambda it, progress: refit.check_fitted(it.run, progress),
    refit.SERVED: lambda it, progress: refit.check_served(it.run, progress),
    refit.FOLDS: lambda it, progress: refit.check_refit(it.run, progress),
}


def analyze(run: Run, quiet: bool = False, only: Collection[str] = CHECKS) -> int:
    """Look for everything that makes figures look better than they are, and write ``performance/analysis.csv``.

    The live tables are judged on the candle file, or on the newest candles of the workspace's history without one; what
    was learned is judged on that history. Every candidate feature is judged, the user's own too, chosen or not.

    Parameters
    ----------
    only : names of the checks that are made

    Returns
    -------
    0 where nothing cheats, ``CHEATS`` where something does

    Raises
    ------
    NotTrainedError, PipelineError : there is no model yet; too few candles
    """
    if not run.artifacts.names():
        raise NotTrainedError(run.workspace.root)
    with run.workspace.held(), Progress(quiet) as progress:
        subject = Subject(run, _candles(run))
        _use_own(run)
        found = [finding for name in CHECKS if name in only for finding in CHECKS[name](subject, progress)]
        run.workspace.write("analysis_stats", table(found))
    if not quiet:
        _tell(found)
        print(f"see {run.workspace.path('analysis_stats')}")
    return CHEATS if any(finding.verdict == FAIL for finding in found) else 0


def _candles(run: Run) -> Columns:
    if run.candles is None:
        candles = run.workspace.read("candles_history")
    else:
        read, _ = read_candles(run.candles, run.settings.data.max_gap_minutes)
        candles = with_history(run, read)
    least = catalog.CANDLES_KEPT + 2 * parity.CANDLES
    if len(candles["timestamp"]) < least:
        raise PipelineError(f"{len(candles['timestamp'])} candles are too few to analyse: {least} at least, most of them warm-up")
    return candles


def _use_own(run: Run) -> None:
    """Put the user's own features into the registry: as they were trained, or as the settings name them.

    Raises
    ------
    PipelineError : they were trained, and are others now
    """
    given = own_source(run)
    m1_live.scaling(run)
    if given and "own_features" in run.artifacts.names() and run.artifacts.load("own_features") != given:
        raise PipelineError(f"{run.settings.data.own_features}: is not what was trained any more; train again, then analyse")


def _tell(found: Sequence[Finding]) -> None:
    for check in dict.fromkeys(finding.check for finding in found):
        rows = [finding for finding in found if finding.check == check]
        faults, notes = ([finding for finding in rows if finding.verdict == verdict] for verdict in (FAIL, NOTE))
        told = f"{len(rows) - len(faults) - len(notes)} of {len(rows)} pass" + (f", {len(notes)} not to be told" if notes else "")
        print(f"{'FAIL' if faults else 'pass'}  {check}: {told}")
        for finding in faults[:SHOWN]:
            print(
                f"      {finding.subject}: {finding.value:g}, {finding.what}" + (f"; {finding.detail}" if finding.detail else "")
            )
        if len(faults) > SHOWN:
            print(f"      ... and {len(faults) - SHOWN} more")
    cheats = {finding.subject for finding in found if finding.verdict == FAIL}
    print(f"{len(cheats)} subjects cheat or are not what they seem" if cheats else "nothing was found that cheats")
