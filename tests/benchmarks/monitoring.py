"""Measures how often the monitoring's alarms are false, and how soon they find a change, beside the usual rules.

    HEARTLINE_REAL_DATA=… .venv/bin/python tests/benchmarks/monitoring.py --page docs/monitoring-evidence.md

Without HEARTLINE_REAL_DATA the records are those of the built-in sample, and Hungary's patients are left out. Evidently
and NannyML are installed into an environment of their own; `--peer-years 0` leaves them out. Equal seeds give equal
figures.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart
from monitoring_peers import environment, rules, shadow, years
from threadpoolctl import threadpool_limits

from heartline.evaluation.intervals import Z, wilson
from heartline.monitoring.methods import paired

PART = MarkedPart("monitoring")
VOLUMES, REFERENCES = (1, 10, 100), (303, 3000)
CELLS = [(volume, reference) for reference in REFERENCES for volume in VOLUMES]
WEEKS = years.DAYS // 7
Result = dict[str, Any]

RULES = {
    "psi": "PSI > .25 in a column, weekly",
    "each": "KS, χ² or Fisher: p < .05 in a column, weekly",
    "columns": "the same, Bonferroni over columns",
    "looks": "**the same, over columns × weeks (Heartline's weekly test)**",
}
PEERS = {
    "evidently any": "Evidently's defaults: a column drifts",
    "evidently half": "Evidently's defaults: half of the columns drift",
    "nannyml any": "NannyML's defaults: a column has an alert",
}
SHARES = {
    "fixed": "martingale with a fixed reference, e ≥ 100",
    "drift": "**Heartline, drift**: growing reference, e ≥ 100",
    "weekly": "**Heartline, weekly tests**",
    "harm": "**Heartline, harm**: e ≥ 100",
    "silence": "**Heartline, silent day**",
    "any": "**Heartline, any of these**",
}
FOUND = {
    "hungary": ("drift", "weekly", "harm"),
    "refused": ("silence", "refused"),
    "unchecked": ("drift", "weekly"),
    "zero": ("drift", "weekly", "harm"),
    "prevalence": ("drift", "weekly", "harm"),
    "brier02": ("harm",),
    "brier05": ("harm",),
    "brier10": ("harm",),
    "delayed": ("harm",),
}
NAMES = {"drift": "drift", "weekly": "weekly test", "harm": "harm", "silence": "silent day", "refused": "refused"}


def main(arguments: list[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=100, help="years without a change, for each volume and reference")
    parser.add_argument("--runs", type=int, default=10, help="years with each change, for each volume and reference")
    parser.add_argument("--pairs", type=int, default=300, help="pairs of equal models; half as many of unequal ones")
    parser.add_argument("--peer-years", type=int, default=1, help="years for Evidently and NannyML; 0 for none")
    parser.add_argument("--peers", type=Path, help="a folder for their environment; a temporary one otherwise")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    results = simulate(given.years, given.runs, given.pairs, given.peer_years, given.peers, given.jobs)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    if given.page:
        PART.write(given.page, text)
    print(text)


def simulate(quiet: int, runs: int, pairs: int, peer_years: int, peers: Path | None, jobs: int) -> Result:
    """Return the figures of all simulations; cells are named ``volume/reference``."""
    changes = [name for name in years.CHANGES if name != "hungary" or years.pools()[1]]
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:

        def run(one: Callable[[int], Any], times: int, what: str) -> list[Any]:
            print(f"{times} × {what}", file=sys.stderr, flush=True)
            return list(pool.map(one, range(times), chunksize=max(1, times // (4 * jobs))))

        results: Result = {"real": years.pools()[1] is not None, "quiet": {}, "changes": {}, "shadow": []}
        for volume, reference in CELLS:
            cell = f"{volume}/{reference}"
            one = partial(quiet_year, volume=volume, reference=reference)
            results["quiet"][cell] = run(one, quiet, f"a year without a change, {cell}")
            results["changes"][cell] = {
                name: run(partial(changed_year, volume=volume, reference=reference, name=name), runs, f"{name}, {cell}")
                for name in changes
            }
        for number, pair in enumerate((shadow.EQUAL, *shadow.BETTER)):
            found = run(partial(shadow.decided, pair=pair), pairs if not number else pairs // 2, f"a shadow, {pair}")
            results["shadow"].append({"difference": shadow.difference(pair), "outcomes": pair.outcomes, "found": found})
        results["peers"] = _peers(pool, peer_years, peers) if peer_years else {}
    return results


def quiet_year(seed: int, volume: int, reference: int) -> Result:
    """Return the alarms of a year in which nothing changes."""
    year = years.year(seed, volume, reference)
    return {"ours": rules.ours(year), "usual": rules.usual(year)}


def changed_year(seed: int, volume: int, reference: int, name: str) -> dict[str, int | None]:
    """Return the first alarms of a year with a change."""
    return rules.ours(years.year(1_000_000 + seed, volume, reference, years.CHANGES[name]))


def _peers(pool: ProcessPoolExecutor, times: int, folder: Path | None) -> Result:
    """Return the alarms of the two tools in quiet years, or why there are none."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            python = environment.install(folder or Path(temporary) / "peers")
        except RuntimeError as error:
            return {"error": str(error).strip().splitlines()[-1]}
        waiting = {
            f"{volume}/{reference}": [
                pool.submit(peer_year, seed, volume, reference, python, Path(temporary)) for seed in range(times)
            ]
            for volume, reference in CELLS
        }
        return {cell: [one.result() for one in found] for cell, found in waiting.items()}


def peer_year(seed: int, volume: int, reference: int, python: Path, folder: Path) -> Result:
    """Return the alarms of the two tools in one quiet year."""
    year = years.year(seed, volume, reference)
    columns = [*rules.columns.FEATURES, rules.columns.COUNTED[-2]]
    data = folder / f"{seed}-{volume}-{reference}.npz"
    np.savez(
        data,
        reference=np.column_stack([year.reference.features, year.expected]),
        records=np.column_stack([year.features, year.probabilities]),
        week=year.day // 7,
        names=[column.name for column in columns],
        codes=[column.name for column in columns if column.codes],
        size=7 * volume,
    )
    return environment.alarms(python, data)


def markdown(results: Result) -> str:
    """Return the tables and what they are of."""
    quiet = results["quiet"]
    times = len(next(iter(quiet.values())))
    runs = len(next(iter(next(iter(results["changes"].values())).values())))
    head = [f"{volume} a day, reference {reference:,}" for volume, reference in CELLS]
    records = (
        "Records: UCI Cleveland (303) and Hungary, drawn with replacement."
        if results["real"]
        else "Records: the built-in sample (20,000 synthetic ones), drawn with replacement; without Hungary's patients."
    )
    return "\n\n".join(
        [
            f"{records} A year has {years.DAYS} days, and a Poisson number of records each.",
            f"### False alarms\n\nWeeks with an alarm in a year without a change: mean of {times:,} years with its "
            "95 % interval.",
            table(["rule", *head], [*_weekly_rows(quiet), *_peer_rows(results["peers"])]),
            *_peer_notes(results["peers"]),
            "Years with at least one alarm, without a change, with the 95 % interval (Wilson):",
            table(["rule", *head], _share_rows(quiet)),
            f"### Delay\n\nDays from the change to the first alarm: median of {runs} years, and in how many of them "
            f"there was an alarm\nwithin {years.DAYS - years.CHANGE} days. The change comes after "
            f"{years.CHANGE // 7} quiet weeks.",
            table(["change", "alarm", *head], _delay_rows(results["changes"])),
            "### Outcomes until harm is found\n\n" + _harm_sentence(results["changes"]),
            "### Shadow\n\n" + _shadow_table(results["shadow"]),
        ]
    )


def _weekly_rows(quiet: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    return [
        [title, *(_mean([one["usual"][rule] for one in quiet[f"{v}/{r}"]]) for v, r in CELLS)]
        for rule, title in RULES.items()
    ]


def _mean(counts: Sequence[int]) -> str:
    values = np.array(counts, dtype="float64")
    mean = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    digits = 0 if mean >= 10 else 2 if mean < 1 else 1
    return f"{mean:.{digits}f} ({max(0.0, mean - half):.{digits}f} to {mean + half:.{digits}f})"


def _peer_rows(peers: Mapping[str, Any]) -> list[list[str]]:
    if not peers or "error" in peers:
        return []
    found = []
    for rule, title in PEERS.items():
        tool, kind = rule.split()
        cells = []
        for volume, reference in CELLS:
            some = [one for one in peers[f"{volume}/{reference}"] if "error" not in one[tool]]
            total = sum(one[tool].get("chunks", one["weeks"]) for one in some)
            cells.append(_of_weeks(sum(one[tool][kind] for one in some), total) if total else "fails")
        found.append([title, *cells])
    return found


def _of_weeks(alarms: int, weeks: int) -> str:
    low, high = wilson(alarms / weeks, weeks)
    return f"{WEEKS * alarms / weeks:.0f} ({WEEKS * low:.0f} to {WEEKS * high:.0f})"


def _peer_notes(peers: Mapping[str, Any]) -> list[str]:
    if not peers:
        return ["Evidently and NannyML were not measured in this run."]
    if "error" in peers:
        return [f"Evidently and NannyML could not be installed: {peers['error']}"]
    found = [
        "Evidently 0.7.23 and NannyML 0.13.1 run in an environment of their own, with pandas 2, on "
        f"{len(peers[f'{VOLUMES[0]}/{REFERENCES[0]}'])} of these years; their\nintervals are Wilson's over the weeks. "
        "Evidently gets each week beside the reference; NannyML gets chunks of a week's mean size."
    ]
    errors = {one["nannyml"]["error"] for some in peers.values() for one in some if "error" in one["nannyml"]}
    return found + [f"NannyML fails where the table says so: `{one.splitlines()[0][:160]}`." for one in sorted(errors)]


def _share_rows(quiet: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    def raised(one: Result, rule: str) -> bool:
        if rule == "fixed":
            return bool(one["usual"]["fixed"])
        return any(day is not None for kind, day in one["ours"].items() if rule in (kind, "any"))

    return [
        [title, *(rate(sum(raised(one, rule) for one in quiet[f"{v}/{r}"]), len(quiet[f"{v}/{r}"])) for v, r in CELLS)]
        for rule, title in SHARES.items()
    ]


def rate(count: int, of: int) -> str:
    """Return a rate in per cent with its 95 % interval (Wilson)."""
    low, high = wilson(count / of, of)
    return f"{100 * count / of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _delays(found: Sequence[Mapping[str, int | None]], kind: str) -> list[float]:
    """Return the days from the change to the first alarm, infinite without one; years with an earlier one left out."""
    days = [one[kind] for one in found]
    return [math.inf if day is None else day - years.CHANGE for day in days if day is None or day >= years.CHANGE]


def _delay_rows(changes: Mapping[str, Mapping[str, Sequence[Mapping[str, int | None]]]]) -> list[list[str]]:
    rows = []
    for name in next(iter(changes.values())):
        for kind in FOUND[name]:
            cells = []
            for volume, reference in CELLS:
                delays = _delays(changes[f"{volume}/{reference}"][name], kind)
                share = sum(math.isfinite(one) for one in delays) / max(1, len(delays))
                median = float(np.median(delays)) if delays else math.inf
                cells.append(f"{median:.0f} ({share:.0%})" if math.isfinite(median) else f"– ({share:.0%})")
            rows.append([years.CHANGES[name].title, NAMES[kind], *cells])
    return rows


def _harm_sentence(changes: Mapping[str, Mapping[str, Sequence[Mapping[str, int | None]]]]) -> str:
    parts = []
    for name in ("brier05", "brier10"):
        delays = _delays(changes["10/303"][name], "harm")
        median = float(np.median(delays)) if delays else math.inf
        known = f"{10 * (median + 1):.0f}" if math.isfinite(median) else "more than a year's"
        parts.append(f"{known} at {years.CHANGES[name].title}")
    return (
        f"At ten outcomes a day, reference 303, after {10 * years.CHANGE} quiet ones: a median of {', '.join(parts)}."
    )


def _shadow_table(found: Sequence[Result]) -> str:
    rows = []
    for one in found:
        verdicts = one["found"]
        n = len(verdicts)
        better, worse = (sum(verdict == wanted for verdict, _, _ in verdicts) for wanted in (1, -1))
        after = float(np.median([math.inf if at is None else at for _, at, _ in verdicts]))
        rows.append(
            [
                f"{abs(one['difference']):.3f}",
                f"{one['outcomes']:,}",
                rate(better, n),
                rate(worse, n),
                f"{after:,.0f}" if math.isfinite(after) else "–",
                rate(sum(peeked for _, _, peeked in verdicts), n),
            ]
        )
    head = ["true Δ Brier", "outcomes at most", "*better*", "*worse*", "median outcomes to decide", "z-test *better*"]
    return (
        f"{table(head, rows)}\n\n{len(found[0]['found'])} pairs of equal models, {len(found[1]['found'])} of each "
        f"other pair. An e-value of {1 / paired.RATE:.0f} decides; the z-test is\nlooked at after every "
        f"{shadow.STEP} outcomes, from {shadow.FEWEST} on, two-sided at 5 %."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
