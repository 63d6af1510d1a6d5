"""Stops a run whose input shows Kaggle's codes: read with other codes, it would be scored without a complaint."""

import numpy as np
import pandas as pd

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion import encodings
from heartline.ingestion.access import files
from heartline.scoring.reading import inputs
from heartline.scoring.reading.chunks import Planned
from heartline.scoring.reading.layout import CONTRACT


def expect(planned: Planned, *, folders: files.Folders) -> None:
    """Look at the first rows of an input, unless the run states its mapping or its encoding.

    Raises:
        DataError: their codes, or the names of the columns, are Kaggle's.
        SourceError: they cannot be read.
    """
    layout = planned.layout
    if layout.encoding != CONTRACT or layout.mapping:
        return
    first = next(iter(inputs.read(planned, planned.chunks[0], folders=folders)), None)
    if first is None or not first.read:
        return
    values = {
        name: first.fields[name].values if name in first.fields else np.full(first.read, np.nan)
        for name in contract.COLUMN_NAMES
    }
    decision = encodings.decide_encoding(pd.DataFrame(values), _own_names(planned), encodings.AUTO)
    if decision.encoding == encodings.KAGGLE or "conflicts" in decision.problem:
        raise DataError(
            f"the first {first.read:,} rows show the codes of Kaggle's heart.csv, not those of the model",
            where=f"{layout.where}; {visible.visible('; '.join(decision.evidence), visible.LONG)}",
            expected="the codes of the model's contract",
            hint="set encoding=kaggle if the codes are Kaggle's; else correct them, or state a mapping",
        )


def _own_names(planned: Planned) -> list[str]:
    """Return the names of the columns that are read: a label, whatever its name, says nothing here."""
    layout = planned.layout
    return [layout.names[at] for at in layout.features.values()]
