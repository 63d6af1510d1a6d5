"""The catalogue of sources: one entry for each kind of source that a training run can read.

The DAG's form, the command line, the model card, the documentation and ``sources.read`` are derived from it. It imports
the standard library and the contract only, so DAG files and the launcher can import it.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from heartline import contract, origins
from heartline.errors import ParameterError
from heartline.ingestion.formats.file_kinds import FORMATS

UCI_URL = "https://archive.ics.uci.edu/static/public/45/heart+disease.zip"
SAMPLE_MIN_ROWS, SAMPLE_MAX_ROWS = 20, 10_000_000
DEFAULT_QUERY = f"SELECT {', '.join(contract.COLUMN_NAMES)} FROM patients"  # noqa: S608 - no user input: the names of the contract
PATIENT_SETTING = "HEARTLINE_PATIENT"  # the patients' column of the nightly runs
PATIENT_SECRET = "HEARTLINE_PATIENT_SECRET"  # noqa: S105 - the name of the variable with which tasks get the secret

MAX_SHOWN = 60  # characters of a wrong value that a message repeats

_UPLOAD = r"upload:(?P<digest>[0-9a-f]{64})(?P<path>/.*)"  # a file whose bytes the command line put into the store

SHEET = re.compile(r"(.+?\.(?:xlsx|xlsm|zip|gz))#(.+)", re.IGNORECASE | re.DOTALL)  # a file, # and a sheet in it
_URL = re.compile(r"(?:file|https?)://", re.IGNORECASE)

# Endings of files that are never read, for a refusal before a run starts; the content decides in the end.
UNREAD = {
    "xls": "an old Excel workbook (.xls)",
    "xlsb": "a binary Excel workbook (.xlsb)",
    "ods": "an OpenDocument spreadsheet (.ods)",
    "numbers": "an Apple Numbers document (.numbers)",
}
_UNREAD_PATTERN = rf"(?:/|file://|(?i:https?)://)[^#]*\.(?i:{'|'.join(UNREAD)})(?:[?#].*)?\Z"

_UNKNOWN_COLLECTION = "Where and how they were collected is known to their owners, not to Heartline."
_NOT_VALIDATED = "No records of another centre have tested it. Elsewhere its probabilities may be too high or too low."


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        origin: its name in run tags, version tags and predictions.
        pattern: a regular expression for the complete value of the parameter ``source``.
        spelled: how the value is written, for messages and help.
        description: what is read, for the DAG's form and the documentation.
        card: what the records are, for the model card.
        limits: what follows for the model, for the model card.
        citation: how to cite the records, for the model card; empty where that is unknown.
        is_address: whether the value is a path or an address rather than a name.
        takes_query: whether the parameter ``query`` is used.
        trains: a regular expression for the values that a training can use, if these are not all.
        examples: values for the DAG's form.
        takes_mapping: whether the parameters ``mapping`` and ``patient`` are used: the others have the contract's
            columns and no others.
    """

    origin: str
    pattern: str
    spelled: tuple[str, ...]
    description: str
    card: str
    limits: str = _NOT_VALIDATED
    citation: str = ""
    is_address: bool = False
    takes_query: bool = False
    trains: str = ""
    examples: tuple[str, ...] = ()
    takes_mapping: bool = False

    def match(self, spec: str) -> re.Match[str] | None:
        """Return the match of a value of the parameter ``source``, or None if it names another source."""
        return re.fullmatch(self.pattern, spec, re.DOTALL if self.is_address else re.NOFLAG)

    def rows(self, spec: str) -> int | None:
        """Return the number of rows that a value asks for; None if it names no number."""
        found = self.match(spec)
        return int(found["rows"]) if found and found.groupdict().get("rows") else None


SOURCES: tuple[Source, ...] = (
    Source(
        origin=origins.SAMPLE,
        pattern=r"sample(?::(?P<rows>[0-9]{1,12}))?",
        trains=r"sample(?::0*(?:[1-9][0-9]{2,6}|10000000))?",
        examples=("sample", "sample:500"),
        spelled=("sample", "sample:N"),
        description=f"a synthetic cohort, N from {contract.MIN_ROWS} to {SAMPLE_MAX_ROWS:,}",
        card="Synthetic records with statistics like those of the Cleveland cohort. They are not records of patients.",
        limits="Trained on synthetic records: it must not be used on patients, not even for study.",
    ),
    Source(
        origin="uci",
        pattern="uci",
        spelled=("uci",),
        examples=("uci",),
        description="the Cleveland file of the UCI archive",
        card=(
            "The Cleveland cohort of the UCI archive: patients of one centre, the Cleveland Clinic Foundation, who "
            "were referred for coronary angiography in the 1980s."
        ),
        limits=(
            "One centre, 303 patients, decades ago, all of them referred for angiography: among them disease is far "
            "more frequent than among the patients of a general practice, so elsewhere its probabilities may be "
            "too high."
        ),
        citation=(
            "Janosi, A., Steinbrunn, W., Pfisterer, M., Detrano, R. (1989). Heart Disease. UCI Machine Learning "
            "Repository, doi 10.24432/C52P4X. Licence: Creative Commons Attribution 4.0 International (CC BY 4.0). "
            "Principal investigators: Andras Janosi (Hungarian Institute of Cardiology, Budapest), William Steinbrunn "
            "(University Hospital, Zurich), Matthias Pfisterer (University Hospital, Basel), Robert Detrano "
            "(V.A. Medical Center, Long Beach, and Cleveland Clinic Foundation)."
        ),
    ),
    Source(
        origin="postgres",
        pattern="postgres",
        spelled=("postgres",),
        examples=("postgres",),
        description="a SQL query on the database at `HEARTLINE_DATABASE_URL`",
        card=f"Records from a database. {_UNKNOWN_COLLECTION}",
        takes_query=True,
        takes_mapping=True,
    ),
    Source(
        origin="file",
        pattern=rf"(/|file://).*|{_UPLOAD}",
        spelled=("path",),
        examples=("/data/records.csv",),
        description=f"a {FORMATS} file (`file.xlsx#Sheet` for a sheet), as it is or in gzip or zip",
        card=f"Records from a file. {_UNKNOWN_COLLECTION}",
        is_address=True,
        takes_mapping=True,
    ),
    Source(
        origin="url",
        pattern=r"(?i:https?)://.*",
        spelled=("http(s) URL",),
        examples=("https://example.org/records.csv",),
        description="a download of such a file",
        card=f"Records from a download. {_UNKNOWN_COLLECTION}",
        is_address=True,
        takes_mapping=True,
    ),
)


def find(spec: str) -> Source | None:
    """Return the source that a value of the parameter ``source`` names, or None if it names none."""
    return next((one for one in SOURCES if one.match(spec)), None)


def upload_spec(digest: str, path: str) -> str:
    """Return the value of ``source`` for a file in the store.

    Args:
        digest: the sha256 of its bytes.
        path: the absolute path that it had on the machine of the user, for messages and the model card.
    """
    return f"upload:{digest}{path}"


def upload(spec: str) -> tuple[str, str] | None:
    """Return the digest and the former path of a file in the store; None for another source."""
    found = re.fullmatch(_UPLOAD, spec, re.DOTALL)
    return (found["digest"], found["path"]) if found else None


def choose(spec: str, query: str | None = None) -> Source:
    """Return the source that a value of the parameter ``source`` names.

    Args:
        spec: the parameter ``source``.
        query: the parameter ``query``.

    Raises:
        ParameterError: the value names none, or the source takes no query.
    """
    source = find(spec)
    if query and not (source and source.takes_query):
        raise ParameterError(
            "this source takes no query",
            where=f"parameter query, with source {public(spec)}",
            expected=f"no query, or {taking_queries()}",
            hint="leave the query out, or choose another source",
        )
    if source is None:
        near = difflib.get_close_matches(spec, _spelled(_names()), n=1)
        raise ParameterError(
            f"unknown source {public(spec)}",
            where="parameter source",
            expected=choices(),
            hint=f"did you mean {near[0]}?" if near else "choose one of these; a path must be absolute",
        )
    if source.is_address and (kind := unread(spec)):
        raise ParameterError(
            f"this is {kind}, which is not read",
            where=f"parameter source: {public(spec)}",
            expected=choices(),
            hint="save it as .xlsx or CSV",
        )
    return source


def expect_patients(spec: str) -> None:
    """Check that a source can have a column of patients.

    Raises:
        ParameterError: it has the contract's columns only.
    """
    if not choose(spec).takes_mapping:
        raise ParameterError(
            "this source has no column of patients",
            where=f"parameter patient, with source {public(spec)}",
            expected="no column: it has the contract's columns only",
            hint="leave the parameter patient out, or choose another source",
        )


def default_query(patient: str) -> str:
    """Return the query of a database for which none is given, with the column of the patients, if it has a name."""
    quoted = patient.replace('"', '""')
    return DEFAULT_QUERY.replace(" FROM ", f', "{quoted}" FROM ', 1) if patient else DEFAULT_QUERY


def pattern() -> str:
    """Return a regular expression for the values of the parameter ``source`` that a training can use."""
    forms = (re.sub(r"\(\?P<\w+>", "(", one.trains or one.pattern) for one in SOURCES)
    return rf"(?!\s)(?!{_UNREAD_PATTERN})(?:{'|'.join(forms)})(?<!\s)"


def examples() -> tuple[str, ...]:
    """Return values of the parameter ``source``, for the DAG's form."""
    return tuple(example for one in SOURCES for example in one.examples)


def split_sheet(spec: str) -> tuple[str, str]:
    """Return the file or address in a value of the parameter ``source``, and the sheet behind ``#``, or "".

    In a URL the sheet is percent-encoded, as its other parts are; behind a path it is written as it is.
    """
    found = SHEET.fullmatch(spec)
    if not found:
        return spec, ""
    return found[1], unquote(found[2]) if _URL.match(spec) else found[2]


def unread(spec: str) -> str:
    """Return what kind of file, that no source reads, a path or address names; "" if it may be readable."""
    path = spec.partition("?")[0] if "://" in spec else spec
    ending = path.partition("#")[0].rpartition(".")[2].lower()
    return UNREAD.get(ending, "") if "." in path else ""


def of_origin(origin: str) -> Source:
    """Return the source of records with this origin; a neutral entry for an origin that the catalogue lacks."""
    unknown = Source(origin, "", (), "", card=f"Records of origin {origin}.")
    return next((one for one in SOURCES if one.origin == origin), unknown)


def choices() -> str:
    """Return how each source is written, in plain text: for help and error messages."""
    return f"{', '.join(_spelled(_names()))}, or the {' or '.join(_spelled(_addresses()))} of a {FORMATS} file"


def form_description() -> str:
    """Return the sources in Markdown: for the field ``source`` of the DAG's form."""
    names = [f"{' or '.join(f'`{form}`' for form in one.spelled)} ({one.description})" for one in _names()]
    addresses = " or ".join(_spelled(_addresses()))
    return f"{', '.join(names)}, or the {addresses} of a {FORMATS} file."


def query_description() -> str:
    """Return what the DAG's parameter ``query`` is for, in Markdown."""
    return (
        f"For {taking_queries('`')}, and needed there: SQL that returns the contract's columns, such as "
        f"`{DEFAULT_QUERY}`. The nightly run uses that one if its source is a database."
    )


def taking_queries(quote: str = "") -> str:
    """Return the sources that take a query, such as ``the source postgres``, each name between two ``quote``."""
    names = [f"{quote}{form}{quote}" for form in _spelled(one for one in SOURCES if one.takes_query)]
    return f"the {'source' if len(names) == 1 else 'sources'} {' or '.join(names)}"


def markdown() -> str:
    """Return the catalogue as a Markdown table: for the documentation."""
    rows = [
        f"| {', '.join(form if one.is_address else f'`{form}`' for form in one.spelled)} | {one.description} "
        f"| `{one.origin}` | {'yes' if one.takes_query else 'no'} |\n"
        for one in SOURCES
    ]
    return "| `source` | what is read | origin | takes `query` |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _names() -> Iterable[Source]:
    return (one for one in SOURCES if not one.is_address)


def _addresses() -> Iterable[Source]:
    return (one for one in SOURCES if one.is_address)


def _spelled(sources: Iterable[Source]) -> list[str]:
    return [form for one in sources for form in one.spelled]


def public(spec: str) -> str:
    """Return a value for a message: cut, with invisible characters made visible, and no more than the scheme of a URL.

    The rest of a URL may hold a password.
    """
    scheme, address, _ = spec.partition("://")
    return ascii(f"{scheme}://…" if address else spec[:MAX_SHOWN])
