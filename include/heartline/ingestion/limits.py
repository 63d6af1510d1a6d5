"""The limits of a source: what is larger is refused before it fills memory.

``SIZE`` and ``ROWS`` are the defaults of settings; the others are far above what a table of patients has.
"""

from heartline.errors import TooLargeError

SIZE = 2 << 30  # bytes of a source, as stored and unpacked (HEARTLINE_SOURCE_MAX_BYTES)
ROWS = 20_000_000  # twice the largest measured table; a row needs 112 bytes here (HEARTLINE_SOURCE_MAX_ROWS)
COLUMNS = 1_000  # of the source; the contract has 14
LINE = 1 << 20  # bytes of one line of text, or of one cell of a query's result
RECORD = 1 << 16  # characters of one JSON record
MAPPING = 20_000  # characters of a mapping
UNREADABLE = 1_000_000  # malformed rows, blank lines, or cells that are no number: each keeps its text and row number
RATIO = 200  # unpacked to packed: CSV of patients reaches 20, a file of equal bytes 1,000
RATIO_FREE = 64 << 20  # bytes that may be unpacked whatever the ratio


def unpacked_size(packed: int, size: int) -> int:
    """Return how many bytes a file of ``packed`` bytes may unpack to, if ``size`` is the limit of a source."""
    return min(size, max(RATIO_FREE, RATIO * packed))


def too_many_rows(where: str, rows: int, *, found: int | None = None) -> TooLargeError:
    """Return the error for a source of more than ``rows`` rows; ``found`` is their number, if it is known."""
    return TooLargeError(
        f"the source has {f'{found:,}' if found else f'more than {rows:,}'} rows",
        where=where,
        expected=f"at most {rows:,} rows",
        hint="select fewer rows, or raise HEARTLINE_SOURCE_MAX_ROWS if the machine has memory for them",
    )


def too_many_columns(where: str, found: int) -> TooLargeError:
    """Return the error for a source of ``found`` columns."""
    return TooLargeError(
        f"the source has {found:,} columns",
        where=where,
        expected=f"at most {COLUMNS:,} columns",
        hint="keep the columns of the contract; the others are not used",
    )


def too_large(where: str, size: int, *, unpacked: bool = False) -> TooLargeError:
    """Return the error for a source of more than ``size`` bytes, as stored or when ``unpacked``."""
    return TooLargeError(
        "the source is too large",
        where=where,
        expected=f"at most {size:,} bytes{' when unpacked' if unpacked else ''}",
        hint="split it, or raise HEARTLINE_SOURCE_MAX_BYTES",
    )


def too_dense(where: str) -> TooLargeError:
    """Return the error for an archive that unpacks to far more than a table of records does."""
    return TooLargeError(
        f"the archive unpacks to more than {RATIO} times its size",
        where=where,
        expected="a compressed table of records; such a table unpacks to about 20 times its size",
        hint="check how the file was made, or unpack it and give the path of the table",
    )


def too_many_unreadable(where: str, what: str) -> TooLargeError:
    """Return the error for a source with more than ``UNREADABLE`` rows or cells of a kind, described by ``what``."""
    return TooLargeError(
        f"more than {UNREADABLE:,} {what}",
        where=where,
        expected="a table of records, nearly all of them numbers",
        hint="check the columns, the separator and the codes of the source",
    )
