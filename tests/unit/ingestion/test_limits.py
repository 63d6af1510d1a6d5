"""Files that would fill memory are refused before they do. Each runs in a process of its own with little room."""

import subprocess
import sys
import textwrap

import pytest

from heartline.errors import PermanentError, TooLargeError
from heartline.ingestion import limits
from tests.running import ROOT

ROOM = 700 << 20  # bytes beyond what the process has after its imports

PROGRAM = """
import resource, sys, gzip, io, json
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet as pq
from heartline import contract
from heartline.errors import HeartlineError
from heartline.ingestion import tables
from heartline.ingestion.formats import archives
NAMES = list(contract.COLUMN_NAMES)
HEADER = ",".join(NAMES).encode() + b"\\n"
ROW = b"52,0,3,124,221,0,2,148,1,0.6,2,0,7,1\\n"
pa.set_cpu_count(1)
pa.set_io_thread_count(1)
def parquet(table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()
{make}
pa.default_memory_pool().release_unused()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {room}, size + {room}))
try:
    found = tables.parse(archives.unpack(data, where="bomb", size=2 << 30), where="bomb")
    print(len(found.frame), "rows,", len(found.unparseable), "unreadable")
except HeartlineError as error:
    print(type(error).__name__ + ":", error.what)
"""


def read(make: str) -> str:
    """Return what reading the ``data`` that a piece of code makes prints, within the room."""
    program = PROGRAM.format(make=textwrap.dedent(make), room=ROOM)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": "include"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        pytest.param(
            'data = gzip.compress(b"\\n" * (200 << 20), 1)',
            f"TooLargeError: the archive unpacks to more than {limits.RATIO} times its size",
            id="gzipped line breaks",
        ),
        pytest.param('data = HEADER + ROW * 3 + b"\\n" * (50 << 20)', "3 rows, 0 unreadable", id="empty lines"),
        pytest.param(
            'data = HEADER + ROW + b" \\n" * 1_100_000',
            "1 rows, 0 unreadable",  # empty rows below the table are ignored
            id="blank lines at the end",
        ),
        pytest.param(
            'data = HEADER + ROW + b" \\n" * 1_100_000 + ROW',
            "TooLargeError: more than 1,000,000 lines hold nothing but blanks",
            id="blank lines",
        ),
        pytest.param(
            'data = HEADER + ROW + b"1\\n" * 1_100_000',
            "TooLargeError: more than 1,000,000 rows have too few or too many fields",
            id="malformed rows",
        ),
        pytest.param(
            'data = HEADER + ROW.replace(b"52", b"old").replace(b",1,", b",no,") * 700_000',
            "TooLargeError: more than 1,000,000 cells are not numbers, in the column exang for example: no",
            id="words",
        ),
        pytest.param(
            'data = b",".join(b"c%d" % n for n in range(100_000)) + b"\\n"',
            "TooLargeError: the source has 100,000 columns",
            id="columns",
        ),
        pytest.param(
            'data = b"," * (100 << 20)', "DataError: the first line has 104,857,600 bytes", id="an endless header"
        ),
        pytest.param('data = b" " * (100 << 20)', "DataError: the file is empty", id="blanks"),
        pytest.param(
            'data = HEADER + b"5" * (100 << 20) + ROW',
            "DataError: the text cannot be split into rows",
            id="an endless cell",
        ),
        pytest.param(
            'data = HEADER + ROW * 3 + "\\U0001f600".encode() * 3 + b"x" * (200 << 20)',
            "DataError: the text cannot be split into rows",
            id="text with a wide character",
        ),
        pytest.param(
            'data = b"[" + b"[]," * (60 << 20)', "DataError: element 1 of the JSON is not a record", id="JSON"
        ),
        pytest.param(
            'data = b"[{\\"a\\": [" + b"[]," * (60 << 20)',
            "DataError: record 1 is no JSON object of at most 65,536 bytes",
            id="JSON in a record",
        ),
        pytest.param(
            "column = pa.array(np.zeros(1_000_000, 'int8'))\n"
            "schema = pa.schema([(name, pa.int8()) for name in NAMES])\n"
            "buffer = io.BytesIO()\n"
            "with pq.ParquetWriter(buffer, schema) as writer:\n"
            "    for _ in range(21):\n"
            "        writer.write_table(pa.table([column] * 14, names=NAMES))\n"
            "data = buffer.getvalue()\n"
            "assert len(data) < 1 << 20",
            "TooLargeError: the source has 21,000,000 rows",
            id="rows of Parquet",
        ),
        pytest.param(
            "words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, 'int32')), ['x' * 100_000])\n"
            "numbers = pa.array(np.ones(200_000))\n"
            "data = parquet(pa.table([words] + [numbers] * 13, names=NAMES))\n"
            "assert len(data) < 1 << 20",
            "200000 rows, 200000 unreadable",
            id="a long word for each row of Parquet",
        ),
        pytest.param(
            "data = parquet(pa.table({f'c{n}': [1.0] for n in range(1001)}))",
            "TooLargeError: the source has 1,001 columns",
            id="columns of Parquet",
        ),
    ],
)
def test_a_bomb_is_refused_or_read_within_the_room(make, outcome):
    assert read(make) == outcome


def test_a_limit_is_not_retried():
    assert issubclass(TooLargeError, PermanentError)


@pytest.mark.parametrize("factor", [1, 2])
def test_tables_of_records_are_far_from_the_ratio(cohort, factor):
    import gzip

    text = cohort.to_csv(index=False).encode() * factor
    assert len(text) / len(gzip.compress(text, 9)) < limits.RATIO / 10
