"""Measures how often records without a change get a warning of drift, and which changes get one.

    .venv/bin/python tests/benchmarks/drift_warnings.py --page docs/data.md

Records and reference are drawn from one synthetic population. Each comparison is Heartline's own (`drift.divergences`);
the columns above the stop level are those that `validate` would stop for. Equal seeds give equal figures.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
import pandas as pd
from marked_part import MarkedPart

from heartline import contract
from heartline.evaluation import intervals
from heartline.ingestion.sample import synthetic
from heartline.validation import drift

PART = MarkedPart("drift warnings")
POPULATION, SEED = 100_000, 5
REFERENCES = (235, 303)
SIZES = (60, 100, 300, 1000)
SHIFTS = (2, 4, 6)  # years
PREVALENCES = (0.36, 0.26, 0.12)

Draw = Callable[[int, np.random.Generator], pd.DataFrame]


def main(arguments: list[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unchanged", type=int, default=4000, help="runs without a change at each size")
    parser.add_argument("--changed", type=int, default=500, help="runs with each change at each size")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    options = parser.parse_args(arguments)
    PART.expect(parser, options.page)
    text = f"{false_alarms(options.unchanged)}\n\n{detection(options.changed)}"
    print(text)
    if options.page:
        PART.write(options.page, text)


def false_alarms(runs: int) -> str:
    """Return the table of runs without a change, Markdown."""
    rows = [
        [f"{n:,}", f"{m:,}", *(_rate(count, runs) for count in outcomes(_unchanged, n, m, runs))]
        for m in REFERENCES
        for n in SIZES
    ]
    head = ("records", "reference", "runs with a warning", f"with a column above {contract.MAX_DRIFT:g}")
    return f"{_table(head, rows)}\n\nWithout a change; {runs:,} runs for each row, with 95 % intervals (Wilson)."


def detection(runs: int) -> str:
    """Return the table of runs with a change, Markdown."""
    changes: dict[str, Draw] = {f"age + {years} years": _older(years) for years in SHIFTS}
    share = float((population()[contract.LABEL.name] > 0).mean())
    changes |= {f"prevalence {share:.0%} → {to:.0%}": _prevalence(to) for to in PREVALENCES}
    rows = []
    for name, change in changes.items():
        found = [outcomes(change, n, REFERENCES[-1], runs) for n in SIZES[1:]]
        rows.append([name, *(f"{warned / runs:.0%} / {stopped / runs:.0%}" for warned, stopped in found)])
    head = ("change", *(f"{n:,} records" for n in SIZES[1:]))
    return (
        f"{_table(head, rows)}\n\nRuns with a warning or a stop / with a stop; reference of {REFERENCES[-1]} records, "
        f"{runs:,} runs for each cell. One\nstandard deviation is at most {50 / runs**0.5:.1f} percentage points."
    )


def outcomes(draw: Draw, n: int, m: int, runs: int) -> tuple[int, int]:
    """Return in how many runs a column was above its chance level, and in how many one was above the stop level.

    Args:
        draw: draws the new records.
        n: new records.
        m: records of the reference.
        runs: number of runs.
    """
    warned = stopped = 0
    for run in range(runs):
        random = np.random.default_rng([SEED, n, m, run])
        reference = drift.reference(_unchanged(m, random))
        found = drift.divergences(draw(n, random), reference)
        warned += any(one.value > one.chance for one in found)
        stopped += any(one.value > contract.MAX_DRIFT for one in found)
    return warned, stopped


_drawn: list[pd.DataFrame] = []


def population() -> pd.DataFrame:
    """Return the population that all records are drawn from, without replacement within a draw."""
    if not _drawn:
        _drawn.append(synthetic.generate(POPULATION, seed=SEED))
    return _drawn[0]


def _unchanged(n: int, random: np.random.Generator) -> pd.DataFrame:
    return population().iloc[random.choice(POPULATION, n, replace=False)]


def _older(years: int) -> Draw:
    (column,) = (one for one in contract.FEATURES if one.name == "age")

    def draw(n: int, random: np.random.Generator) -> pd.DataFrame:
        found = _unchanged(n, random)
        return found.assign(age=np.minimum(found["age"] + years, column.maximum))

    return draw


def _prevalence(share: float) -> Draw:
    positive = (population()[contract.LABEL.name] > 0).to_numpy()
    without, with_disease = np.flatnonzero(~positive), np.flatnonzero(positive)

    def draw(n: int, random: np.random.Generator) -> pd.DataFrame:
        count = random.binomial(n, share)
        chosen = [
            random.choice(with_disease, count, replace=False),
            random.choice(without, n - count, replace=False),
        ]
        return population().iloc[np.concatenate(chosen)]

    return draw


def _rate(count: int, runs: int) -> str:
    low, high = intervals.wilson(count / runs, runs)
    return f"{count / runs:.1%} ({low:.1%} to {high:.1%})" if count else f"none (up to {high:.1%})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
