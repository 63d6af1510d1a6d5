"""Shared by the tests of storage: frames of single records."""

import pandas as pd

from heartline import contract

NAMES = list(contract.COLUMN_NAMES)
FEATURES = list(contract.FEATURE_NAMES)
RECORD = (54, 0, 1, 130, 242, 0, 0, 152, 0, 0.8, 1, 0, 3, 0)


def frame_of(*records):
    return pd.DataFrame(list(records), columns=NAMES, dtype="float64")


def changed(record=RECORD, **values):
    return tuple(values.get(name, value) for name, value in zip(NAMES, record, strict=True))


def features_of(frame):
    return set(frame[FEATURES].fillna(-1).itertuples(index=False, name=None))
