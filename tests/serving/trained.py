"""Real pipelines, trained on the sample, and their bundles."""

from functools import cache

import numpy as np
from sklearn.pipeline import Pipeline

from heartline import bundles, contract, dataset, export, sample, training
from serving.bundle import Model
from serving.records import Record
from tests.serving.fakes import EVALUATION

FAMILIES = tuple(training.FAMILIES)


@cache
def pipeline(family: str) -> Pipeline:
    """Return a family's pipeline, fitted on the sample."""
    records = dataset.labelled(sample.generate(303, 20))
    return training.fit(family, records, profile=training.profile("quick"), seed=1)


@cache
def bundle(family: str) -> dict[str, bytes]:
    """Return the files of a family's bundle."""
    about = {"name": "heart-disease", "family": family, "origin": "sample", "snapshot": "5" * 64}
    return bundles.unpack(export.build_bundle(pipeline(family), about=about, evaluation=EVALUATION, seed=1))


@cache
def model(family: str) -> Model:
    """Return a family's model as the service loads it."""
    return Model(bundle(family))


def patients(count: int) -> list[Record]:
    """Return the first ``count`` records of another sample; some lack an optional value."""
    frame = sample.generate(max(count, 50), 4)[list(contract.FEATURE_NAMES)]
    rows = frame.to_numpy("float64", copy=True)[:count]
    rows[1::5, -1] = np.nan
    return [
        {
            name: None if np.isnan(value) else float(value) if value % 1 else int(value)
            for name, value in zip(frame, row, strict=True)
        }
        for row in rows
    ]
