"""The figures of a family. Each has the same axes for every family, and the same data gives the same bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.arrays import Floats
from heartline.evaluation import curves, importance, metrics
from heartline.evaluation.cross_validation import CrossValidation, Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.reports.rendering import BLUE, GREY, ORANGE, grid, plot_style, to_svg, unit_square
from heartline.storage.splits import LabelledDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (6.0, 4.5)  # inches: 600 × 450 points of the screen
DOTS = 100
CLASSES = (("without disease", BLUE), ("with disease", ORANGE))
IMPORTANCE_RANGE = (-0.05, 0.15)
SCORES_RANGE = (0.0, 0.4)
ODDS_RANGE = (0.25, 6.0)
TOP, BOTTOM, RIGHT = 0.87, 0.12, 0.97  # of the axes, as shares of the figure; the title is above them
_STYLE = {
    "font.size": 10,
    # Text stays text, in the fonts of the browser: it can be selected and searched, and the files are a fraction as
    # large. DejaVu Sans, with which matplotlib measures, is the widest of those that it names.
    "svg.fonttype": "none",
}


@dataclass(frozen=True, eq=False)
class FigureData:
    """The data of a family's figures.

    Attributes:
        title: the family's title.
        basis: the evaluation in words, for example ``10 × 10 folds``.
        records: n training records.
        cv: the family's out-of-fold predictions.
        estimates: scores of the averaged out-of-fold probabilities.
        odds: odds ratios of the final model; empty where it has no coefficients.
        seed: of the ROC curve's band.
    """

    title: str
    basis: str
    records: LabelledDataset
    cv: CrossValidation
    estimates: Mapping[str, Estimate]
    odds: list[importance.OddsRatio]
    seed: int

    @classmethod
    def of(
        cls,
        title: str,
        model: Pipeline,
        records: LabelledDataset,
        found: tuple[CrossValidation, Evaluation],
        *,
        profile: str,
        seed: int,
    ) -> "FigureData":
        """Return the data of a family's figures.

        Args:
            title: the family's title.
            model: fitted on all of ``records``.
            records: n training records.
            found: the family's out-of-fold predictions and its evaluation.
            profile: the evaluation's profile, by name.
            seed: of the bootstraps.
        """
        cv, evaluation = found
        repeats = len(cv.probabilities)
        return cls(
            title,
            f"{len(cv.fold_aucs) // repeats} × {repeats} folds, {profile} profile",
            records,
            cv,
            evaluation.out_of_fold,
            importance.odds_ratios(model, records, seed=seed),
            seed,
        )


def draw(data: FigureData) -> dict[str, bytes]:
    """Return the figures by file name: ``roc.svg`` and so on, ``odds_ratios.svg`` only for a linear model."""
    from matplotlib.figure import Figure

    pictures = dict(_PICTURES)
    if data.odds:
        pictures["odds_ratios"] = _odds_ratios
    files = {}
    with plot_style(_STYLE):
        for name, picture in pictures.items():
            figure = Figure(figsize=SIZE)
            picture(figure, data)
            files[f"{name}.svg"] = to_svg(figure, dpi=DOTS)
    return files


def _axes(figure: "Figure", *, left: float = 0.11, rows: int = 1, heights: tuple[float, ...] | None = None) -> Any:
    """Return the axes in fixed margins.

    matplotlib's layout engines would measure the margins, which takes as long as the drawing. The labels are known.
    """
    margins = {"left": left, "right": RIGHT, "bottom": BOTTOM, "top": TOP, "hspace": 0.12}
    return figure.subplots(rows, sharex=True, height_ratios=heights, gridspec_kw=margins)


def _head(figure: "Figure", data: FigureData, what: str, basis: str = "") -> None:
    about = basis or f"{len(data.records)} training records, out-of-fold probabilities; {data.basis}"
    figure.text(0.01, 0.985, f"{data.title}: {what}", va="top", fontsize=12, fontweight="bold")
    figure.text(0.01, 0.925, about, va="top", fontsize=8.5, color="#444444")


def _roc(figure: "Figure", data: FigureData) -> None:
    axis = _axes(figure)
    records = data.records
    curve = curves.roc(records.labels, data.cv.averaged, records.groups, seed=data.seed)
    axis.fill_between(curve.grid, curve.low, curve.high, color=BLUE, alpha=0.2, linewidth=0, label="95 %, pointwise")
    label = f"ROC AUC {data.estimates['roc_auc']}"
    axis.plot(curve.false_positives, curve.true_positives, color=BLUE, linewidth=1.8, label=label)
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    predictions = data.cv.averaged >= contract.THRESHOLD
    at = [float(predictions[records.labels == label].mean()) for label in (0, 1)]
    axis.plot(*at, "o", color=ORANGE, markersize=7, label=f"threshold {contract.THRESHOLD:g}")
    unit_square(axis, "1 − specificity (false positive rate)", "Recall (true positive rate)")
    axis.legend(loc="lower right")
    _head(figure, data, "ROC curve")


def _precision_recall(figure: "Figure", data: FigureData) -> None:
    axis = _axes(figure)
    labels = data.records.labels
    recall, precision = curves.precision_recall(labels, data.cv.averaged)
    label = f"PR AUC {data.estimates['pr_auc']}"
    axis.step(recall, precision, where="pre", color=BLUE, linewidth=1.8, label=label)
    share = float(labels.mean())
    axis.axhline(share, color=GREY, linestyle=":", label=f"chance ({share:.2f}, the share with disease)")
    found, right = data.estimates["recall"].value, data.estimates["precision"].value
    if found is not None and right is not None:
        axis.plot(found, right, "o", color=ORANGE, markersize=7, label=f"threshold {contract.THRESHOLD:g}")
    unit_square(axis, "Recall", "Precision")
    axis.legend(loc="lower left")
    _head(figure, data, "precision and recall")


def _confusion(figure: "Figure", data: FigureData) -> None:
    axis = _axes(figure, left=0.05)
    predictions = (data.cv.averaged >= contract.THRESHOLD).astype(int)
    counts = np.bincount(2 * data.records.labels + predictions, minlength=4).reshape(2, 2)
    shares = counts / counts.sum(axis=1, keepdims=True)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axis.text(
            column,
            row,
            f"{count}\n{share:.0%} of those\n{CLASSES[row][0]}",
            ha="center",
            va="center",
            fontsize=12,
            color="white" if share > 0.55 else "black",
        )
    axis.set_xticks([0, 1], ["predicted: without disease", "predicted: with disease"])
    axis.set_yticks([0, 1], ["without disease", "with disease"], rotation=90, va="center")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    _head(figure, data, f"confusion matrix at {contract.THRESHOLD:g}")


def _calibration(figure: "Figure", data: FigureData) -> None:
    axis, below = _axes(figure, left=0.13, rows=2, heights=(4, 1))
    found = curves.calibration(data.records.labels, data.cv.averaged)
    spread = np.abs([found.observed - found.low, found.high - found.observed])
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    axis.errorbar(
        found.predicted, found.observed, spread, fmt="o", color=BLUE, capsize=3, label="observed share, 95 % (Wilson)"
    )
    shown = "\n".join(
        f"{metrics.TITLES[name]}\n{data.estimates[name]}" for name in ("calibration_slope", "calibration_in_the_large")
    )
    axis.text(0.02, 0.97, shown, va="top", fontsize=9, transform=axis.transAxes)
    unit_square(axis, "", "Observed share with disease")
    axis.legend(loc="lower right", fontsize=9, frameon=True, framealpha=0.8, edgecolor="none")
    shares = found.counts / found.counts.sum()
    below.stairs(shares, found.edges, fill=True, color=BLUE, alpha=0.6)
    below.set(
        xlabel="Predicted probability, in tenths", ylabel="Share of\nrecords", ylim=(0, max(0.4, float(shares.max())))
    )
    _head(figure, data, "calibration")


def _scores(figure: "Figure", data: FigureData) -> None:
    axis = _axes(figure)
    edges = np.linspace(0, 1, 21)
    highest = np.zeros(1)
    for label, ((name, colour), hatch) in enumerate(zip(CLASSES, ("", "///"), strict=True)):
        members = data.cv.averaged[data.records.labels == label]
        shares = np.histogram(members, edges)[0] / len(members)
        title = f"{name} ({len(members)})"
        axis.stairs(shares, edges, fill=True, fc=(colour, 0.35), ec=colour, hatch=hatch, linewidth=1.5, label=title)
        highest = np.maximum(highest, shares.max())
    axis.axvline(contract.THRESHOLD, color=GREY, linestyle="--", label=f"threshold {contract.THRESHOLD:g}")
    axis.set(xlim=(-0.02, 1.02), xlabel="Predicted probability, in twentieths", ylabel="Share of the class")
    axis.set_ylim(_widened(SCORES_RANGE, highest, highest))
    axis.legend(loc="upper left")
    _head(figure, data, "distribution of scores")


def _importance(figure: "Figure", data: FigureData) -> None:
    from matplotlib.ticker import MultipleLocator

    axis = _axes(figure, left=0.3)
    drops = data.cv.importance
    mean, spread = drops.mean(axis=0), drops.std(axis=0, ddof=1)
    positions = np.arange(len(mean))[::-1]
    axis.barh(positions, mean, xerr=spread, color=BLUE, ecolor=GREY, capsize=2, height=0.65)
    axis.set_yticks(positions, [column.title for column in contract.FEATURES])
    axis.axvline(0, color="black", linewidth=0.8)
    axis.xaxis.set_major_locator(MultipleLocator(0.05))
    axis.set(xlim=_widened(IMPORTANCE_RANGE, mean - spread, mean + spread), xlabel="Fall in ROC AUC when shuffled")
    basis = f"Left-out records of {len(drops)} folds, mean ± standard deviation over folds; {data.basis}"
    _head(figure, data, "permutation importance", basis)


def _odds_ratios(figure: "Figure", data: FigureData) -> None:
    axis = _axes(figure, left=0.5)
    values, lows, highs = (np.array([getattr(one, name) for one in data.odds]) for name in ("value", "low", "high"))
    positions = np.arange(len(values))[::-1]
    spread = np.abs([values - lows, highs - values])
    axis.errorbar(values, positions, xerr=spread, fmt="o", color=BLUE, capsize=2, markersize=5)
    axis.set_yticks(positions, [one.label for one in data.odds], fontsize=8)
    axis.axvline(1, color=GREY, linestyle=":")
    axis.set_xscale("log")
    axis.set_xlim(_widened(ODDS_RANGE, lows, highs))
    ticks = [0.25, 0.5, 1, 2, 4]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("Odds ratio (log scale)")
    grid(axis, only="x")
    intervals = importance.interval_in_words(len(data.records))
    basis = f"Final model, {len(data.records)} training records, {intervals}"
    _head(figure, data, "odds ratios", basis)


def _widened(usual: tuple[float, float], lows: Floats, highs: Floats) -> tuple[float, float]:
    """Return the usual range, the same for all families; wider only if a value lies outside."""
    return min(usual[0], float(lows.min())), max(usual[1], float(highs.max()))


_PICTURES: Mapping[str, Callable[["Figure", FigureData], None]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
    "confusion_matrix": _confusion,
    "calibration": _calibration,
    "scores": _scores,
    "importance": _importance,
}
