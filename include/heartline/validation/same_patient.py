"""What a set of records shows about its patients, in sentences: those with several records, and those that may have.

Scores and verdicts assume that records of one patient are kept together; these sentences say how far that is known.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from heartline import visible
from heartline.storage import near_duplicates
from heartline.storage.near_duplicates import NearDuplicates
from heartline.storage.record_identity import PATIENT

_ADVICE = "If the source has a column that identifies the patient, name it: patient=COLUMN."


@dataclass(frozen=True)
class Patients:
    """Sentences about the patients of a set of records.

    Attributes:
        notes: for the report of the checks.
        warnings: what readers of scores must know, too.
    """

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def of_records(records: pd.DataFrame, column: str) -> Patients:
    """Return the sentences about canonical records.

    Args:
        records: (n, 14), or (n, 15) with the key of each record's patient.
        column: the source's column of patients, as spelled; "" without one.
    """
    return _by_key(records, visible.visible(column)) if PATIENT in records else _without_key(records)


def _by_key(records: pd.DataFrame, column: str) -> Patients:
    keys = records[PATIENT].to_numpy("uint64")
    known = keys[keys != 0]
    patients = len(np.unique(known))
    note = f"The column {column} identifies {patients:,} patients in {len(known):,} records."
    if patients == len(known):
        note = f"No two records have the same value of the column {column}: it joins no records."
    unknown = len(keys) - len(known)
    if not unknown:
        return Patients((note,))
    have, they = (
        ("1 record has", "it is") if unknown == 1 else (f"{unknown:,} of {len(keys):,} records have", "they are")
    )
    warning = f"{have} no value of the column {column}: {they} kept together only with records of equal features."
    return Patients((note,), (warning,))


def _without_key(records: pd.DataFrame) -> Patients:
    found = near_duplicates.find(records)
    if found.skipped:
        most = f"{near_duplicates.MAX_ROWS:,}"
        skipped = "Pairs of records that look like two visits of one patient were not counted: in more than"
        return Patients((f"{skipped} {most} records, chance makes too many. {_ADVICE}",))
    if not len(found.pairs):
        return Patients()
    if not found.beyond_chance:
        pairs = "1 pair of records looks" if len(found.pairs) == 1 else f"{len(found.pairs):,} pairs of records look"
        return Patients((f"{pairs} like two visits of one patient, no more than chance makes.",))
    counted = _counted(found)
    if found.certain:
        sentence = f"{counted}. They are kept together in split, folds and intervals. {_ADVICE}"
    else:
        sentence = (
            f"{counted}. They are not kept together, because too many pairs may be chance: scores may be too good, and "
            f"intervals too narrow. {_ADVICE}"
        )
    return Patients((), (sentence,))


def _counted(found: NearDuplicates) -> str:
    chance = f"about {found.by_chance:,.0f}" if found.by_chance >= 1 else "less than 1"
    return f"{len(found.pairs):,} pairs of records look like two visits of one patient, and chance makes {chance}"
