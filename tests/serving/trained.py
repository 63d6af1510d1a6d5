"""Real pipelines, trained on the sample, and their bundles."""

from functools import cache

import numpy as np
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.ingestion.sample import synthetic
from heartline.packaging import export
from heartline.packaging.bundle import unpack
from heartline.storage import splits
from heartline.training import families
from serving.model.bundle import Model
from serving.model.records import Record
from tests.serving.fakes import EVALUATION

FAMILIES = tuple(families.FAMILIES)


@cache
def pipeline(family: str) -> Pipeline:
    """Return a family's pipeline, fitted on the sample."""
    records = splits.to_labelled(synthetic.generate(303, 20))
    return families.fit(family, records, profile=families.profile("quick"), seed=1)


@cache
def bundle(family: str) -> dict[str, bytes]:
    """Return the files of a family's bundle."""
    about = {"name": "heart-disease", "family": family, "origin": "sample", "snapshot": "5" * 64}
    return unpack(export.build_bundle(pipeline(family), about=about, evaluation=EVALUATION, seed=1))


@cache
def model(family: str) -> Model:
    """Return a family's model as the service loads it."""
    return Model(bundle(family))


def patients(count: int) -> list[Record]:
    """Return the first ``count`` records of another sample; some lack an optional value."""
    frame = synthetic.generate(max(count, 50), 4)[list(contract.FEATURE_NAMES)]
    rows = frame.to_numpy("float64", copy=True)[:count]
    rows[1::5, -1] = np.nan
    return [
        {
            name: None if np.isnan(value) else float(value) if value % 1 else int(value)
            for name, value in zip(frame, row, strict=True)
        }
        for row in rows
    ]
