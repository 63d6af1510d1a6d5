"""The two encodings of these records: UCI's codes, and those of the Kaggle file ``heart.csv``.

Kaggle's file holds the Cleveland patients with other codes and an inverted label. Read with UCI's codes it trains a
model that scores well and predicts the opposite. So the encoding is decided from evidence or set by the user, and never
guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion import label_polarity
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping.file_mapping import FileMapping

UCI = "uci"
KAGGLE = "kaggle"
AUTO = "auto"
ENCODINGS = (AUTO, UCI, KAGGLE)
MAPPING = "mapping"  # no encoding, but the user's own statement

MISSING = cells.MINUS_NINE  # in both encodings

# Kaggle's code: UCI's code; NaN if Kaggle's code means a missing value.
KAGGLE_CODES: dict[str, dict[float, float]] = {
    "cp": {3: 1, 1: 2, 2: 3, 0: 4},
    "restecg": {1: 0, 2: 1, 0: 2},
    "slope": {2: 1, 1: 2, 0: 3},
    "ca": {0: 0, 1: 1, 2: 2, 3: 3, 4: np.nan},
    "thal": {2: 3, 1: 6, 3: 7, 0: np.nan},
    contract.LABEL.name: {1: 0, 0: 1},
}
_KAGGLE_NAMES = {
    "trtbps": "trestbps",
    "thalachh": "thalach",
    "exng": "exang",
    "slp": "slope",
    "caa": "ca",
    "thall": "thal",
    "output": contract.LABEL.name,
    "target": contract.LABEL.name,
}
ALIASES: dict[str, str] = {**{name: name for name in contract.COLUMN_NAMES}, **_KAGGLE_NAMES}

_MIN_EXCLUSIVE_SHARE = 0.1  # of the rows have codes of one encoding only: enough to support that encoding
_MAX_STRAY_SHARE = 0.05  # of the rows have codes of the other encoding only: single errors, for the row checks
_TITLES = {UCI: "UCI", KAGGLE: "Kaggle"}

Topic = Literal["names", "codes", "label"]


@dataclass(frozen=True)
class EncodingEvidence:
    """One observation about a file's encoding.

    Attributes:
        topic: what was examined.
        supports: the encodings that it supports: none, one, or both if it contradicts itself.
        text: a sentence for display.
    """

    topic: Topic
    supports: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class EncodingDecision:
    """The encoding of a file.

    Attributes:
        encoding: ``uci`` or ``kaggle``, or ``mapping`` for a file with a mapping; the empty string if it could not be
            decided.
        evidence: one sentence for each observation.
        problem: why it could not be decided; otherwise the empty string.
    """

    encoding: str
    evidence: list[str]
    problem: str = ""


def decide_encoding(frame: pd.DataFrame, names: Sequence[str], requested: str) -> EncodingDecision:
    """Decide the encoding of records.

    Args:
        frame: (n, 14) the contract's columns as they were read.
        names: the column names in the header as spelled; empty without a header.
        requested: ``uci`` or ``kaggle`` sets the encoding, ``auto`` decides it from the evidence.

    Raises:
        DataError: ``requested`` is none of these.
    """
    _expect_one_of(ENCODINGS, requested)
    frame = _without_minus_nine(frame)
    shown = {column: visible.visible(name) for column, name in spelled(names).items()}
    found = [_from_names(names), *_from_codes(frame, shown), _from_label(frame, shown)]
    evidence = [f"{one.topic}: {one.text}" for one in found]
    if requested != AUTO:
        return EncodingDecision(requested, [f"set by the user: encoding={requested}", *evidence])
    supported = {encoding for one in found for encoding in one.supports}
    conclusive = {one.topic for one in found if one.supports}
    if len(supported) > 1:
        return EncodingDecision("", evidence, "the evidence about the encoding conflicts")
    if not ("codes" in conclusive or {"names", "label"} <= conclusive):
        return EncodingDecision("", evidence, "there is not enough evidence to decide the encoding")
    return EncodingDecision(supported.pop(), evidence)


def of_mapping(frame: pd.DataFrame, mapping: FileMapping, names: Mapping[str, str]) -> EncodingDecision:
    """Return the decision for records that a mapping decoded, with the evidence about their label.

    Args:
        frame: (n, 14) as decoded.
        mapping: how they were decoded.
        names: the file's name of each column of the contract.
    """
    stated = f"mapping: {mapping.title} (sha256 {mapping.digest}) states the columns, the codes and the label"
    shown = {column: visible.visible(name) for column, name in names.items()}
    return EncodingDecision(MAPPING, [stated, f"label: {_from_label(frame, shown).text}"])


def decode(frame: pd.DataFrame, encoding: str) -> pd.DataFrame:
    """Return records in UCI's codes; a value that is no code of the encoding is missing.

    Args:
        frame: (n, 14) records as read; -9 is a missing value in both encodings.
        encoding: ``uci`` or ``kaggle``.

    Raises:
        DataError: the encoding is unknown.
    """
    _expect_one_of((UCI, KAGGLE), encoding)
    decoded = _without_minus_nine(frame)
    if encoding == UCI:
        return decoded
    return decoded.assign(**{name: decoded[name].map(codes).astype("float64") for name, codes in KAGGLE_CODES.items()})


def spelled(names: Sequence[str]) -> dict[str, str]:
    """Return the name in a header, as spelled, of each column of the contract that it has."""
    found: dict[str, str] = {}
    for name in names:
        if column := ALIASES.get(" ".join(name.split()).lower()):
            found.setdefault(column, name)
    return found


def titled(column: str, names: Mapping[str, str]) -> str:
    """Return a column for messages: its name in the source, with the contract's behind it if that differs."""
    name = names.get(column, column)
    shown = visible.visible(name)
    return shown if name.lower() == column else f"{shown} ({column})"


def no_unparseable_cells() -> pd.DataFrame:
    """Return an empty table of unparseable cells: row, field, value, reason."""
    return pd.DataFrame(
        {"row": pd.Series(dtype="int64"), **{name: pd.Series(dtype="str") for name in ("field", "value", "reason")}}
    )


def _expect_one_of(known: Sequence[str], encoding: str) -> None:
    """Raise unless the encoding is spelled exactly: a wrong one would invert the label."""
    if encoding not in known:
        raise DataError(
            f"unknown encoding '{visible.visible(encoding)}'",
            where="parameter encoding",
            expected=f"{', '.join(known[:-1])} or {known[-1]}",
            hint="choose one of these, in lower case",
        )


def _without_minus_nine(frame: pd.DataFrame) -> pd.DataFrame:
    written = [name for name in frame.columns if (frame[name] == MISSING).any()]
    return frame.assign(**{name: frame[name].mask(frame[name] == MISSING) for name in written}) if written else frame


def _from_names(names: Sequence[str]) -> EncodingEvidence:
    plain = {name.strip().lower(): name.strip() for name in names}
    kaggles = [visible.visible(written) for name, written in plain.items() if name in _KAGGLE_NAMES]
    if kaggles:
        return EncodingEvidence(
            "names", (KAGGLE,), f"{', '.join(kaggles)} {'is' if len(kaggles) == 1 else 'are'} Kaggle's"
        )
    if contract.LABEL.name in plain:
        return EncodingEvidence("names", (UCI,), f"the label is called {contract.LABEL.name}, as in the UCI archive")
    return EncodingEvidence("names", (), "the file has no header" if not plain else "none that only one encoding has")


def _exclusive() -> dict[str, dict[str, list[float]]]:
    """Return the codes that only one encoding has, by encoding and column."""
    known = {column.name: {float(code) for code in column.codes} for column in contract.COLUMNS}
    return {
        UCI: {name: sorted(known[name] - set(codes)) for name, codes in KAGGLE_CODES.items()},
        KAGGLE: {name: sorted(set(codes) - known[name]) for name, codes in KAGGLE_CODES.items()},
    }


def _from_codes(frame: pd.DataFrame, names: Mapping[str, str]) -> list[EncodingEvidence]:
    """Return the evidence of the codes that only one encoding has.

    A single such code may be an error in its row. Two of them in one row show the encoding of that row.
    """
    hits: dict[str, np.ndarray] = {}
    texts = {}
    for encoding, columns in _exclusive().items():
        per_row = np.zeros(len(frame), dtype="int8")
        seen = []
        for name, codes in columns.items():
            for code in codes:
                matches = frame[name].to_numpy() == code
                if matches.any():
                    per_row += matches  # codes of one column exclude each other
                    seen.append(f"{names.get(name, name)} {code:g}")
        hits[encoding] = per_row
        texts[encoding] = ", ".join(seen)
    alone = {
        UCI: (hits[UCI] > 0) & (hits[KAGGLE] == 0),
        KAGGLE: (hits[KAGGLE] > 0) & (hits[UCI] == 0),
    }
    found = []
    for encoding in (UCI, KAGGLE):
        rows = int((hits[encoding] > 0).sum())
        if not rows:
            continue
        certain = int((alone[encoding] & (hits[encoding] > 1)).sum())
        share = alone[encoding].sum() / len(frame)
        other = KAGGLE if encoding == UCI else UCI
        leads = share >= _MIN_EXCLUSIVE_SHARE and rows > int((hits[other] > 0).sum())
        supported = leads or certain > 0 or rows > _MAX_STRAY_SHARE * len(frame)
        text = f"{rows} of {len(frame)} rows have codes that only {_TITLES[encoding]} has ({texts[encoding]})"
        found.append(EncodingEvidence("codes", (encoding,) if supported else (), text))
    if not found:
        return [EncodingEvidence("codes", (), "none that only one encoding has")]
    return found


def _from_label(frame: pd.DataFrame, names: Mapping[str, str]) -> EncodingEvidence:
    if frame[contract.LABEL.name].isna().all():
        return EncodingEvidence("label", (), "no row has a label that is a number")
    aucs = label_polarity.aucs(frame)
    if len(aucs) < label_polarity.MIN_COLUMNS:
        return EncodingEvidence("label", (), "too few values of each class to determine its polarity")
    against = label_polarity.contradictions(aucs)
    shown = ", ".join(f"{names.get(name, name)} {auc:.2f}" for name, auc in aucs.items())
    if len(against) > contract.MAX_CONTRADICTIONS:
        return EncodingEvidence("label", (KAGGLE,), f"higher means no disease, as in Kaggle's file (AUC of {shown})")
    return EncodingEvidence("label", (UCI,), f"higher means disease, as in UCI's files (AUC of {shown})")
