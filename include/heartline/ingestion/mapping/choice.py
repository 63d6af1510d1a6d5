"""Chooses the mapping of a file: the one that the user states, else a shipped one that fits the file exactly.

A shipped mapping is chosen only if nothing is guessed by it: each column of the file is one of the mapping's, each
value of a code column is one of its words, measurements have the contract's units, and the label goes with the other
columns as disease does.
"""

import logging
import re
from collections.abc import Callable, Sequence

import pandas as pd

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import encodings, label_polarity
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping.file_mapping import BY_NAME, LABEL, ColumnMapping, FileMapping, key, plain
from heartline.ingestion.tables import Table

log = logging.getLogger(__name__)

_INDEX = re.compile(r"|column \d+|unnamed: \d+|index|__index_level_0__")  # names of a column that only counts rows
_MIN_GROUP = 10  # rows with a code, for its share of disease to count
# Code of a column: code that goes with disease more often, in every published cohort.
_MORE_DISEASE = {"cp": ((1, 2, 3), (4,)), "slope": ((1,), (2, 3)), "thal": ((3,), (7,)), "exang": ((0,), (1,))}


def read(parse: Callable[[FileMapping | None], Table], mapping: FileMapping | None, *, automatic: bool) -> Table:
    """Return the records of a source, read by the mapping that applies.

    Args:
        parse: reads the source by a mapping, or by the contract's names for None.
        mapping: what the user stated, or None.
        automatic: whether a shipped mapping may be chosen.

    Raises:
        DataError: what ``parse`` raises.
    """
    if mapping or not automatic:
        return parse(mapping)
    try:
        usual = parse(None)
    except DataError:
        chosen = _chosen(parse)
        if chosen is None:
            raise
        return chosen
    if not usual.absent and usual.unparseable.empty:
        return usual
    return _chosen(parse) or usual


def _chosen(parse: Callable[[FileMapping | None], Table]) -> Table | None:
    """Return the records as the one shipped mapping reads them that fits them exactly; None if none or several do."""
    fitting = [
        table
        for mapping in mapping_catalog.shipped()
        if (table := _parsed(parse, mapping))
        and has_header(mapping, [name for name in table.names if name != table.patient])
        and fits(table, mapping)
    ]
    if len(fitting) != 1:
        return None
    log.info("the mapping %s fits this file exactly", fitting[0].mapping.title if fitting[0].mapping else "")
    return fitting[0]


def _parsed(parse: Callable[[FileMapping | None], Table], mapping: FileMapping) -> Table | None:
    try:
        return parse(mapping)
    except DataError:
        return None


def has_header(mapping: FileMapping, names: Sequence[str]) -> bool:
    """Return whether a header has each column of a mapping once, and no others beside those that only count rows."""
    given = [plain(name) for name in names if not _INDEX.fullmatch(plain(name))]
    ignored = {plain(name) for name in mapping.ignored}
    used = [name for name in given if name not in ignored]
    wanted = [{plain(name) for name in one.names} for one in mapping.columns.values()]
    return len(used) == len(wanted) and all(sum(name in names for name in used) == 1 for names in wanted)


def fits(table: Table, mapping: FileMapping) -> bool:
    """Return whether all values are a mapping's, in its units, and the label goes with the others as disease does."""
    if not _is_needed(table, mapping):
        return False
    if not all(_has_values(table.frame[name], one, name) for name, one in mapping.columns.items() if one.codes):
        return False
    decoded, _ = mapping.decode(table.frame, encodings.no_unparseable_cells())
    aucs = label_polarity.aucs(decoded)
    conclusive = len(aucs) >= label_polarity.MIN_COLUMNS
    return (
        conclusive
        and len(label_polarity.contradictions(aucs)) <= contract.MAX_CONTRADICTIONS
        and not any(_contradicts(decoded, name) for name in _MORE_DISEASE)
        and all(_has_unit(decoded, column) for column in contract.FEATURES if column.kind == "measurement")
    )


def _has_unit(decoded: pd.DataFrame, column: contract.Column) -> bool:
    """Return whether the usual value of a measurement is possible in the contract's unit."""
    values = decoded[column.name].dropna()
    return values.empty or column.minimum <= values.median() <= column.maximum


def _is_needed(table: Table, mapping: FileMapping) -> bool:
    """Return whether a column has another name than the contract's, or holds words."""
    words = (str(word) for name in mapping.words for word in table.frame[name].cat.categories)
    renamed = {plain(name) for one in mapping.columns.values() for name in one.names} - {*contract.COLUMN_NAMES}
    return any(plain(name) in renamed for name in table.names) or any(cells.number(word) is None for word in words)


def _has_values(values: "pd.Series[float]", column: ColumnMapping, name: str) -> bool:
    """Return whether all values are a mapping's, and whether they tell its codes from others.

    Numbers may be the codes of another layout: the least and the greatest of the mapping's must be there.
    """
    known = {word: code for word, code in column.by_key.items() if word not in map(key, column.missing)}
    absent = {*cells.MISSING, key(cells.MINUS_NINE), *map(key, column.missing)}
    found = {key(value) for value in values.dropna().unique()} - absent
    if not found <= set(known):
        return False
    if name == LABEL:
        return {known[word] > 0 for word in found} == {True, False}
    numeric = [word for word in found if cells.number(word) is not None]
    if not numeric or len(BY_NAME[name].codes) < 3:
        return True
    ordered = sorted((word for word in known if cells.number(word) is not None), key=float)
    return {ordered[0], ordered[-1]} <= found


def _contradicts(decoded: pd.DataFrame, name: str) -> bool:
    """Return whether a code that goes with disease in every published cohort goes with less disease here."""
    disease = (decoded[LABEL] > 0)[decoded[LABEL].notna()]
    less, more = (disease[decoded[name].isin(codes)] for codes in _MORE_DISEASE[name])
    return min(len(less), len(more)) >= _MIN_GROUP and bool(less.mean() >= more.mean())
