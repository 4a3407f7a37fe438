"""Train module 2: mixture and Markov chain for the regimes, a boosted model for the early warnings."""

import logging
import sys
import warnings
from dataclasses import dataclass, replace

import numpy as np
from hmmlearn.hmm import GaussianHMM
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from modules.core import boosting, calibration, evidence
from modules.core.catalog import M2, M5, NEXT
from modules.core.history import History, input_names, inputs
from modules.core.module import Run, trainer_main
from modules.core.settings import Settings
from modules.core.statistics import Figures, regime_figures, share, warning_figures
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.core.trees import Trees
from modules.core.words import REGIMES
from modules.m2_regime import model

# hmmlearn warns where the likelihood falls. With a prior Baum-Welch climbs the posterior, not the likelihood.
logging.getLogger("hmmlearn.base").setLevel(logging.ERROR)

CHAIN_ROWS = 30_000
"""The newest rows that Baum-Welch sees: a month of minutes holds hundreds of regimes."""
CRITERION_ROWS = 20_000
FORESIGHT_ROWS, FORESIGHT_STEP = 60_000, 3
"""The newest rows that the foresight learns from, and of them every how many: neighbours say nearly the same."""
FORESIGHT_LEAST = 6_000
"""Rows below which the chain alone foretells better: they hold too few changes to learn from."""
STAY = 0.98
"""Probability of staying in a regime for one more minute from which Baum-Welch starts."""
SPREAD = 0.3
"""Variance of each regime about its prototype from which Baum-Welch starts."""
ANCHOR = 0.5
"""How much a prototype weighs against a regime's own rows. Without it the eight states drift to wherever the likelihood
is highest and their names come to mean nothing; docs/decisions has the figures."""


@dataclass
class Outputs:
    """What module 2 says of each of N rows of the history, filled block by block.

    Parameters
    ----------
    state, coming : (N, 8) filtered and next-regime probabilities
    warning : (N,) calibrated probability of a move
    """

    state: np.ndarray
    coming: np.ndarray
    warning: np.ndarray

    @classmethod
    def of(cls, rows: int) -> "Outputs":
        return cls(np.zeros((rows, len(REGIMES))), np.zeros((rows, len(REGIMES))), np.full(rows, np.nan))

    def regimes(
        self,
        regimes: model.RegimeModel,
        foresight: model.Foresight | None,
        path: np.ndarray,
        said: Columns,
        block: np.ndarray,
        settings: Settings,
    ) -> None:
        """Fill in the regimes of neighbouring rows ``block``; the filter looks back on the rows before them."""
        behind = path[max(0, block[0] - settings.regime.memory + 1) : block[-1] + 1]
        told = {key: values[block] for key, values in said.items()}
        self.state[block], self.coming[block] = model.regimes_along(regimes, foresight, behind, told, settings.regime)


def train(run: Run, progress: Progress) -> list[str]:
    """Fit on the training rows, write out-of-fold rows for what learns from them, and figures of the unseen tail."""
    settings = run.settings
    history = History.load(run.workspace, settings)
    path = inputs(history.features, list(model.PATH))
    axes = path[:, : len(model.AXES)]
    said = evidence.history(run.workspace, history.timestamps, lag=1)
    names = input_names(history.features)
    rows = model.warner_rows(history.features, names, said)
    names = [*names, *evidence.names(), *model.CLOCK]
    _, moved = history.first_side()

    progress.step("2 regime: walk-forward", settings.learning.folds)
    outputs = Outputs.of(len(history))
    raw = np.full(len(history), np.nan)
    excursion = history.excursion()
    volatilities, reach = model.volatilities(history.features), model.reach(history.features, settings)
    seen = np.zeros(len(history), bool)
    gap = history.walk.purge + history.walk.embargo
    for train_rows, test_rows in history.walk.split(history.training):
        regimes, chain = fit_regimes(axes[train_rows], settings)
        foresight = fit_foresight(path[train_rows], regimes, chain, settings)
        # The rows before the first block get its model's answers too; they are in sample and marked so.
        block = test_rows if seen.any() else np.arange(test_rows[-1] + 1)
        outputs.regimes(regimes, foresight, path, said, block, settings)
        warner, _ = fit_warner(volatilities, rows, excursion, train_rows, names, settings)
        raw[block] = warner.probability(volatilities[block], rows[block], reach[block])
        slope, shift = _calibration(raw, moved, seen)
        outputs.warning[block] = calibration.platt(raw[block], slope, shift)
        seen[test_rows[:-gap]] = True
        progress.advance()
    training = np.arange(history.training)
    regimes, chain = fit_regimes(axes[training], settings)
    foresight = fit_foresight(path[training], regimes, chain, settings)
    mixture = fit_mixture((axes[training] - regimes.centre) / regimes.scale, settings.regime.components, settings)
    tail = np.arange(history.training, len(history))
    outputs.regimes(regimes, foresight, path, said, tail, settings)
    warner, booster = fit_warner(volatilities, rows, excursion, training[:-gap], names, settings)
    slope, shift = _calibration(raw, moved, seen)
    warner = replace(warner, slope=slope, shift=shift)
    outputs.warning[tail] = warner.probability(volatilities[tail], rows[tail], reach[tail])
    progress.advance()
    progress.done()

    progress.step("2 regime: measuring and writing")
    # The fusion learned from the old regimes: until it learns anew, nothing may decide.
    for room in (M2, M5):
        run.artifacts.forget(room)
    span = history.span(training)
    run.artifacts.save_pickle("gmm_model", mixture, span, list(model.AXES))
    run.artifacts.save_pickle("hmm_model", chain, span, list(model.AXES))
    run.artifacts.save("warning_export", booster, span, names)
    run.artifacts.save_json("regime_export", _export(regimes, foresight, warner), span, list(model.AXES))
    run.workspace.write("regime_assignments", _assignments(history, outputs, settings))
    run.workspace.write(
        "transition_probs",
        {
            "from_regime": np.repeat(np.array(REGIMES, object), len(REGIMES)),
            "to_regime": np.tile(np.array(REGIMES, object), len(REGIMES)),
            "prob": np.clip(regimes.transitions.ravel(), 0, 1),
        },
    )
    standard = (axes - regimes.centre) / regimes.scale
    figures = Figures()
    unseen = tail[history.known[tail]]
    _regime_figures(figures, history, unseen, standard, mixture, chain, outputs, regimes, settings)
    stamps, probability = history.timestamps[unseen], outputs.warning[unseen]
    given = probability >= model.warning_thresholds(stamps, history.features["atr_ratio"][unseen], settings)
    atr, seed = history.features["atr"][unseen], settings.learning.seed
    warning_figures(figures, "out of sample", stamps, probability, given, moved[unseen], atr, seed)
    run.workspace.write("regime_stats", figures.columns())
    progress.done()
    found = {figure: value for scope, figure, value, *_ in figures.rows if scope == "out of sample"}
    area = found.get("early warning ROC-AUC", np.nan)
    return [
        f"2 regime: accuracy {found['regime accuracy']:.3f}, early warning ROC-AUC {area:.3f}"
        " on the out-of-sample tail; performance/regime_stats.csv has the intervals and baselines"
    ]


def fit_regimes(axes: np.ndarray, settings: Settings) -> tuple[model.RegimeModel, GaussianHMM]:
    """Transitions and emissions by Baum-Welch, from the named prototypes and held near them.

    Parameters
    ----------
    axes : (N, D) training rows of ``model.AXES`` in time order
    """
    centre, scale = axes.mean(axis=0), axes.std(axis=0) + 1e-12
    newest = ((axes - centre) / scale)[-CHAIN_ROWS:]
    prototypes = np.array([model.PROTOTYPES[regime] for regime in REGIMES])
    states, dimensions = prototypes.shape
    chain = GaussianHMM(
        states,
        "full",
        n_iter=15,
        params="stmc",
        init_params="",
        min_covar=1e-3,
        means_prior=prototypes,
        means_weight=ANCHOR * len(newest) / states,
        # One row of the prototype's own spread: a regime that the rows never visit keeps it, and stays invertible.
        covars_prior=SPREAD * np.eye(dimensions),
        covars_weight=dimensions + 1,
        random_state=settings.learning.seed,
        implementation="scaling",
    )
    chain.startprob_ = np.full(states, 1 / states)
    chain.transmat_ = np.full((states, states), (1 - STAY) / (states - 1)) + np.eye(states) * (STAY - (1 - STAY) / (states - 1))
    chain.means_, chain.covars_ = prototypes.copy(), np.tile(SPREAD * np.eye(dimensions), (states, 1, 1))
    chain.fit(newest)
    horizon = settings.labels.horizon
    return model.RegimeModel.of(centre, scale, chain.means_, chain.covars_, chain.transmat_, horizon), chain


def fit_foresight(path: np.ndarray, regimes: model.RegimeModel, chain: GaussianHMM, settings: Settings) -> model.Foresight | None:
    """What the chain in hindsight says one label horizon later, learned from the path of the axes; None for too few rows.

    Parameters
    ----------
    path : (N, 5) training rows of ``model.PATH`` in time order
    """
    if len(path) < FORESIGHT_LEAST:
        return None
    newest, horizon = path[-FORESIGHT_ROWS:], settings.labels.horizon
    hindsight = chain.predict_proba((newest[:, : len(model.AXES)] - regimes.centre) / regimes.scale).argmax(axis=1)
    rows = np.arange(model.KEPT, len(newest) - horizon, FORESIGHT_STEP)
    known = model.foresight_inputs(newest, len(newest))[rows]
    centre, scale = known.mean(axis=0), known.std(axis=0) + 1e-12
    # One row of each regime at the centre: then all eight are known, whichever the rows hold.
    seen = np.stack(list(model.terms(known, centre, scale)), 1)
    learned = np.vstack([seen, np.zeros((len(REGIMES), seen.shape[1]))])
    later = np.append(hindsight[rows + horizon], np.arange(len(REGIMES)))
    with warnings.catch_warnings():
        # The last digits of the weights are not worth the rounds.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=100).fit(learned, later)
    return model.Foresight(centre, scale, fitted.coef_, fitted.intercept_)


def fit_mixture(standard: np.ndarray, components: int, settings: Settings) -> GaussianMixture:
    """The mixture without a chain: what a regime could be told by from one row alone, the baseline of the regimes."""
    prototypes = np.array([model.PROTOTYPES[regime] for regime in REGIMES])
    random = np.random.Generator(np.random.PCG64(settings.learning.seed))
    more = standard[random.choice(len(standard), max(0, components - len(prototypes)), replace=False)]
    starts = np.vstack([prototypes, more])[:components]
    mixture = GaussianMixture(components, means_init=starts, reg_covar=1e-4, max_iter=60, random_state=settings.learning.seed)
    with warnings.catch_warnings():
        # A baseline need not settle to the last digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(standard[-CHAIN_ROWS:])


def name_components(means: np.ndarray) -> np.ndarray:
    """(K,) number of the regime of each component of (K, D) standardised means.

    Each regime gets the one component that fits it best, all eight together (Hungarian method); what is left goes to
    its nearest prototype.
    """
    prototypes = np.array([model.PROTOTYPES[regime] for regime in REGIMES])
    distance = ((means[:, None, :] - prototypes[None, :, :]) ** 2).sum(axis=2)
    regime_of = distance.argmin(axis=1)
    component, regime = linear_sum_assignment(distance)
    regime_of[component] = regime
    return regime_of


def fit_warner(
    volatilities: np.ndarray,
    rows: np.ndarray,
    excursion: np.ndarray,
    train_rows: np.ndarray,
    names: list[str],
    settings: Settings,
) -> tuple[model.Warner, bytes]:
    """The model of ln(excursion / close), its probability not calibrated yet, and the text of its trees.

    Parameters
    ----------
    volatilities, rows : (N, 3) and (N, F) inputs of ``model.Warner.probability``
    excursion : (N,) of ``History.excursion``
    train_rows : the rows to learn from
    """
    gap = settings.labels.horizon + 1 + settings.learning.embargo
    design = np.hstack([np.ones((len(train_rows), 1)), volatilities[train_rows]])
    intercept, *weights = np.linalg.lstsq(design, excursion[train_rows], rcond=None)[0].tolist()
    margin = design @ np.array([intercept, *weights])
    fitted = boosting.fit(rows[train_rows], excursion[train_rows], names, settings.learning, 1, gap, margin=margin)
    return model.Warner(weights, intercept, Trees(fitted.text)), fitted.text


def _calibration(raw: np.ndarray, moved: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Platt's sigmoid from the out-of-fold rows seen so far; none before there are any."""
    return calibration.fit_platt(raw[seen], moved[seen]) if seen.any() else (1.0, 0.0)


def _export(regimes: model.RegimeModel, foresight: model.Foresight | None, warner: model.Warner) -> dict[str, object]:
    return {
        "axes": list(model.AXES),
        **{key: value.tolist() for key, value in vars(regimes).items()},
        "foresight": foresight and {key: value.tolist() for key, value in vars(foresight).items()},
        "warner": {key: value for key, value in vars(warner).items() if key != "trees"},
    }


def _assignments(history: History, outputs: Outputs, settings: Settings) -> Columns:
    thresholds = model.warning_thresholds(history.timestamps, history.features["atr_ratio"], settings)
    margin = settings.warning.direction_margin
    return {
        "timestamp": history.timestamps,
        "regime": np.array(REGIMES, object)[outputs.state.argmax(axis=1)],
        "confidence": np.clip(outputs.state.max(axis=1), 0, 1),
        **{column.name: np.clip(outputs.coming[:, i], 0, 1) for i, column in enumerate(NEXT)},
        "warning": model.warnings(outputs.warning, thresholds, outputs.coming, margin),
        "warning_probability": np.clip(outputs.warning, 0, 1),
        "fold": history.folds,
    }


def _regime_figures(
    figures: Figures,
    history: History,
    tail: np.ndarray,
    standard: np.ndarray,
    mixture: GaussianMixture,
    chain: GaussianHMM,
    outputs: Outputs,
    regimes: model.RegimeModel,
    settings: Settings,
) -> None:
    """Labels known at the time against those of the same model in hindsight, on rows that nothing was fitted on."""
    stamps, seed, scope = history.timestamps[tail], settings.learning.seed, "out of sample"
    hindsight = chain.predict_proba(standard[tail]).argmax(axis=1)
    label, coming = outputs.state[tail].argmax(axis=1), outputs.coming[tail].argmax(axis=1)
    regime_figures(figures, scope, stamps, label, coming, hindsight, settings.labels.horizon, seed)
    horizon = settings.labels.horizon
    later, now = hindsight[horizon:], label[:-horizon]
    other = np.flatnonzero(later != now)
    foreseen, by_chain = (
        _likeliest_other(coming[:-horizon][other], now[other]) == later[other]
        for coming in (outputs.coming[tail], outputs.state[tail] @ regimes.ahead)
    )
    value, low, high = share(foreseen, stamps[:-horizon][other], seed)
    figure = f"which regime {horizon} minutes ahead, where it is another, accuracy"
    figures.add(scope, figure, value, len(other), low, high, float(by_chain.mean()), "the chain's likeliest other")
    by_mixture = name_components(mixture.means_)[mixture.predict(standard[tail])]
    value, low, high = share(by_mixture == hindsight, stamps, seed)
    figures.add(scope, "regime accuracy of the mixture alone, without a chain", value, len(tail), low, high)
    part = standard[: history.training][-CRITERION_ROWS:]
    for components in sorted({4, 6, 8, settings.regime.components, 12}):
        fitted = fit_mixture(part, components, settings)
        figures.add("training rows", f"BIC a row, {components} components", fitted.bic(part) / len(part), len(part))
        figures.add("training rows", f"AIC a row, {components} components", fitted.aic(part) / len(part), len(part))


def _likeliest_other(coming: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(N,) the likeliest regime of (N, 8) probabilities beside the present label."""
    others = coming.copy()
    others[np.arange(len(label)), label] = -1
    return others.argmax(axis=1)


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
