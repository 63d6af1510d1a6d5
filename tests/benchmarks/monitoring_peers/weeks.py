"""Asks Evidently and NannyML, with their default settings, about the weeks of a simulated year; prints JSON.

It runs with the packages of peers.in. Its argument is an .npz file: reference (n, columns), records (m, columns),
week (m,), names and codes (columns,).
"""

import json
import sys

import numpy as np
import pandas as pd


def frame(values, names, codes):
    """Return records with codes as text."""
    found = pd.DataFrame(values, columns=names)
    for name in codes:
        found[name] = found[name].map(lambda one: None if np.isnan(one) else f"{one:g}")
    return found


def evidently(reference, records, week, names, codes):
    """Return the number of weeks in which a column has drifted, and of those in which half of them have."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(
        numerical_columns=[name for name in names if name not in codes], categorical_columns=list(codes)
    )
    before = Dataset.from_pandas(reference, data_definition=definition)
    found = {"any": 0, "half": 0}
    for one in np.unique(week):
        now = Dataset.from_pandas(records[week == one].reset_index(drop=True), data_definition=definition)
        result = Report([DataDriftPreset()]).run(now, before).dict()
        value = next(m for m in result["metrics"] if m["metric_name"].startswith("DriftedColumnsCount"))["value"]
        found["any"] += value["count"] > 0
        found["half"] += value["share"] >= 0.5
    return found


def nannyml(reference, records, names, size):
    """Return the number of chunks of a week's size in which a column has an alert."""
    import nannyml as nml

    calculator = nml.UnivariateDriftCalculator(column_names=list(names), chunk_size=size)
    calculator.fit(reference)
    result = calculator.calculate(records).filter(period="analysis").to_df()
    alerts = result.loc[:, [column for column in result.columns if column[-1] == "alert"]]
    return {"any": int(alerts.any(axis=1).sum()), "chunks": len(alerts)}


def main(path):
    given = np.load(path)
    names, codes = [str(one) for one in given["names"]], [str(one) for one in given["codes"]]
    reference, records = (frame(given[one], names, codes) for one in ("reference", "records"))
    week = given["week"]
    found = {"weeks": len(np.unique(week)), "evidently": evidently(reference, records, week, names, codes)}
    try:
        found["nannyml"] = nannyml(reference, records, names, int(given["size"]))
    except Exception as error:  # a reference of one chunk or less
        found["nannyml"] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
