"""The catalogue of sources: one entry for each kind of source that a training run can read.

The DAG's form, the command line, the model card, the documentation and ``sources.read`` are derived from it. It imports
the standard library and the contract only, so DAG files and the launcher can import it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from heartline import contract, origins

UCI_URL = "https://archive.ics.uci.edu/static/public/45/heart+disease.zip"
SAMPLE_MIN_ROWS = 20

SHEET = re.compile(r"(.+?\.(?:xlsx|xlsm|zip|gz))#(.+)", re.IGNORECASE | re.DOTALL)  # a file, # and a sheet in it

# Endings of files that are never read, for a refusal before a run starts; the content decides in the end.
UNREAD = {
    "xls": "an old Excel workbook (.xls)",
    "xlsb": "a binary Excel workbook (.xlsb)",
    "ods": "an OpenDocument spreadsheet (.ods)",
    "numbers": "an Apple Numbers document (.numbers)",
}
_UNREAD_PATTERN = rf"^(?:/|file://|(?i:https?)://).*\.(?i:{'|'.join(UNREAD)})(?:#.*)?$"

_FILE = "a CSV, Parquet or Excel ({}) file"
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
        takes_mapping: whether the parameter ``mapping`` is used: the others have the contract's columns.
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
    takes_mapping: bool = False

    def match(self, spec: str) -> re.Match[str] | None:
        """Return the match of a value of the parameter ``source``, or None if it names another source."""
        return re.fullmatch(self.pattern, spec, re.DOTALL if self.is_address else re.NOFLAG)


SOURCES: tuple[Source, ...] = (
    Source(
        origin=origins.SAMPLE,
        pattern=r"sample(?::(\d{1,12}))?",
        spelled=("sample", "sample:N"),
        description=f"a synthetic cohort, N from {SAMPLE_MIN_ROWS}; training needs {contract.MIN_ROWS}",
        card="Synthetic records with statistics like those of the Cleveland cohort. They are not records of patients.",
        limits="Trained on synthetic records: it must not be used on patients, not even for study.",
    ),
    Source(
        origin="uci",
        pattern="uci",
        spelled=("uci",),
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
        description="a SQL query on the database at `HEARTLINE_DATABASE_URL`",
        card=f"Records from a database. {_UNKNOWN_COLLECTION}",
        takes_query=True,
        takes_mapping=True,
    ),
    Source(
        origin="file",
        pattern=r"(/|file://).*",
        spelled=("path",),
        description="a CSV, Parquet or Excel file (`file.xlsx#Sheet`), as it is or in gzip or zip",
        card=f"Records from a file. {_UNKNOWN_COLLECTION}",
        is_address=True,
        takes_mapping=True,
    ),
    Source(
        origin="url",
        pattern=r"(?i:https?)://.*",
        spelled=("http(s) URL",),
        description="a download of such a file",
        card=f"Records from a download. {_UNKNOWN_COLLECTION}",
        is_address=True,
        takes_mapping=True,
    ),
)


def find(spec: str) -> Source | None:
    """Return the source that a value of the parameter ``source`` names, or None if it names none."""
    return next((one for one in SOURCES if one.match(spec)), None)


def split_sheet(spec: str) -> tuple[str, str]:
    """Return the file or address in a value of the parameter ``source``, and the sheet behind ``#``, or ""."""
    found = SHEET.fullmatch(spec)
    return (found[1], found[2]) if found else (spec, "")


def unread(spec: str) -> str:
    """Return what kind of file, that no source reads, a path or address names; "" if it may be readable."""
    path = spec.partition("?")[0] if "://" in spec else spec
    ending = path.partition("#")[0].rpartition(".")[2].lower()
    return UNREAD.get(ending, "") if "." in path else ""


def form_schema() -> dict[str, dict[str, str]]:
    """Return the JSON Schema keywords for the DAG's parameter ``source``: files that are never read are refused."""
    return {"not": {"pattern": _UNREAD_PATTERN}}


def of_origin(origin: str) -> Source:
    """Return the source of records with this origin; a neutral entry for an origin that the catalogue lacks."""
    unknown = Source(origin, "", (), "", card=f"Records of origin {origin}.")
    return next((one for one in SOURCES if one.origin == origin), unknown)


def choices() -> str:
    """Return how each source is written, in plain text: for help and error messages."""
    return f"{', '.join(_spelled(_names()))}, or the {' or '.join(_spelled(_addresses()))} of {_FILE.format('.xlsx')}"


def form_description() -> str:
    """Return the sources in Markdown: for the field ``source`` of the DAG's form."""
    names = [f"{' or '.join(f'`{form}`' for form in one.spelled)} ({one.description})" for one in _names()]
    addresses = " or ".join(_spelled(_addresses()))
    return f"{', '.join(names)}, or the {addresses} of {_FILE.format('`.xlsx`')}."


def query_description() -> str:
    """Return what the DAG's parameter ``query`` is for, in Markdown."""
    return f"For {taking_queries('`')}: SQL that returns the contract's columns."


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
