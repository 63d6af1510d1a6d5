"""Checks the settings that the stack's processes read, so that a wrong one is refused before anything is started."""

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from croniter import croniter  # type: ignore[import-untyped]

from heartline import addresses, contract
from heartline.errors import ParameterError, SourceRefusedError
from heartline.ingestion import source_catalog
from heartline.ingestion.access import networks
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ledger import retention
from heartline.monitoring import settings as monitoring
from heartline.parameters import monitoring as monitoring_parameters
from heartline.parameters import training as parameters
from heartline.registry.production import approvals
from stack import mapping_choice
from stack.errors import UsageError
from stack.source_choice import absolute

_FIELDS = 5  # of a cron expression for Airflow; croniter would accept seconds and years, too
MAX_APPROVAL_DAYS = 365
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def _is_schedule(text: str) -> bool:
    if not (text.startswith("@") or len(text.split()) == _FIELDS):
        return False
    try:
        croniter(text, datetime.now(UTC)).get_next()
    except (ValueError, KeyError):  # KeyError: an unknown @name
        return False
    return True


def _is_timezone(text: str) -> bool:
    if text.lower() == "utc":
        return True
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # OSError: a folder of zones, such as America
        return False
    return True


def _is_time_of_day(text: str) -> bool:
    return text.strip() == "off" or re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text.strip()) is not None


def _are_notified(text: str) -> bool:
    return all(re.fullmatch(r"(smtp|slack|webhook):[\w.-]+", one.strip()) for one in text.split(","))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0


def _is_days(text: str) -> bool:
    try:
        return 0 < float(text) <= MAX_APPROVAL_DAYS
    except ValueError:
        return False


def _is_yes_or_no(text: str) -> bool:
    return text in ("yes", "no")


def _are_users(text: str) -> bool:
    return all(one.strip() and not any(sign.isspace() for sign in one.strip()) for one in text.split(","))


def _is_archive(text: str) -> bool:
    if text.startswith(("/", "file:///")):
        return True
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_source(text: str) -> bool:
    source = absolute(text)
    try:
        parameters.check({"source": source}, usual_source=source)
    except ParameterError:
        return False
    return True


def _is_mapping(text: str) -> bool:
    path = mapping_choice.path_of(text)
    return _names_mapping(text) or (mapping_catalog.has_suffix(path) and path.is_file())


def _is_mapping_of_container(text: str) -> bool:
    # not whether the file exists: the stack must start without it, too
    named = mapping_catalog.is_path(text) and mapping_catalog.has_suffix(mapping_choice.path_of(text))
    return _names_mapping(text) or named


def _is_patient(text: str) -> bool:
    return not parameters.by_name()["patient"].problem(text)


def _names_mapping(text: str) -> bool:
    return text.strip() in mapping_catalog.NAMES or mapping_catalog.is_inline(text)


def _is_outcomes(text: str) -> bool:
    return re.fullmatch(monitoring_parameters.SOURCE_PATTERN, text) is not None


def _are_networks(text: str) -> bool:
    try:
        return bool(networks.parse(text))
    except SourceRefusedError:
        return False


def _are_folders(text: str) -> bool:
    return all(Path(one).expanduser().is_absolute() for one in text.split(os.pathsep) if one)


def _is_public(text: str) -> bool:
    return not addresses.problem(text.strip().rstrip("/"))


_Checks = Mapping[str, tuple[Callable[[str], object], str]]

_NAMED_MAPPINGS = f"one of {', '.join(mapping_catalog.NAMES)}, a mapping as YAML or JSON"
_CHECKS: _Checks = {
    "HEARTLINE_SCHEDULE": (_is_schedule, "a cron expression of five fields that occurs, such as 0 2 * * *"),
    "HEARTLINE_TIMEZONE": (_is_timezone, "the name of a time zone, such as Europe/Berlin or UTC"),
    "HEARTLINE_DEADLINE": (_is_time_of_day, "a time of day such as 06:00, or off"),
    "HEARTLINE_NOTIFY": (
        _are_notified,
        "smtp, slack or webhook, each with the id of a connection of Airflow, such as smtp:team_mail, slack:team",
    ),
    "HEARTLINE_SOURCE": (_is_source, f"{source_catalog.choices()}, with N from {contract.MIN_ROWS}"),
    "HEARTLINE_SOURCE_FOLDERS": (_are_folders, f"absolute paths, separated by {os.pathsep}"),
    "HEARTLINE_SOURCE_NETWORKS": (_are_networks, "networks such as 10.0.0.0/8, separated by commas"),
    "HEARTLINE_SOURCE_SECONDS": (_is_count, "a whole number of seconds, at least 1"),
    "HEARTLINE_SOURCE_MAX_BYTES": (_is_count, "a whole number of bytes, at least 1"),
    "HEARTLINE_SOURCE_MAX_ROWS": (_is_count, "a whole number of rows, at least 1"),
    "HEARTLINE_APPROVAL_DAYS": (_is_days, f"a number of days above 0 and at most {MAX_APPROVAL_DAYS}"),
    "HEARTLINE_APPROVERS": (_are_users, "names of Airflow's users, separated by commas"),
    networks.OFFLINE: (_is_yes_or_no, "yes or no"),
    "HEARTLINE_FOUR_EYES": (_is_yes_or_no, "yes or no"),
    approvals.REQUIRED: (_is_yes_or_no, "yes or no"),
    "HEARTLINE_MAPPING": (
        _is_mapping,
        f"{_NAMED_MAPPINGS}, or the path of a mapping that exists, .yaml, .yml or .json",
    ),
    source_catalog.PATIENT_SETTING: (_is_patient, "the name of a column"),
    "HEARTLINE_MONITORING_SCHEDULE": (_is_schedule, "a cron expression of five fields that occurs, such as 30 0 * * *"),
    monitoring.MARGIN: (monitoring.is_margin, "a number from 0 to below 1, such as 0.02"),
    **dict.fromkeys(monitoring.RATES, (monitoring.is_rate, "a probability above 0 and below 1, such as 0.01")),
    monitoring_parameters.SOURCE_SETTING: (
        _is_outcomes,
        "postgres, postgres:TABLE, an absolute path, or an http(s) URL",
    ),
    retention.VARIABLE: (_is_count, "a whole number of days, at least 1"),
    "HEARTLINE_CACHE_DIR": (lambda text: Path(text).is_absolute(), "an absolute path"),
    "HEARTLINE_UCI_URL": (_is_archive, "an http(s) URL, a file:// URL or an absolute path"),
    "HEARTLINE_STORE": (_URL.fullmatch, "a URI, such as file:///srv/heartline/store"),
    **{
        addresses.setting(part): (_is_public, "an http(s) URL such as https://ml.example.org/airflow, without a login")
        for part in addresses.PORTS
    },
    "HEARTLINE_DATABASE_URL": (_URL.fullmatch, "a SQLAlchemy URL: postgresql+psycopg2://user:password@host/database"),
}
_CHECKS_OF_CONTAINER: _Checks = {
    **_CHECKS,
    "HEARTLINE_MAPPING": (
        _is_mapping_of_container,
        f"{_NAMED_MAPPINGS}, or an absolute path inside the containers, .yaml, .yml or .json",
    ),
}
_SECRET = {"HEARTLINE_DATABASE_URL", *map(addresses.setting, addresses.PORTS)}  # values that may contain a password


def check(environ: Mapping[str, str], *, in_container: bool = False) -> None:
    """Check the settings in ``environ``. An empty variable counts as unset.

    Args:
        environ: the environment variables.
        in_container: whether paths are those inside the containers of docker compose; they must be absolute.

    Raises:
        UsageError: a setting has a value that its reader cannot use.
    """
    for name, (valid, expected) in (_CHECKS_OF_CONTAINER if in_container else _CHECKS).items():
        text = environ.get(name)
        if text and not valid(text):
            value = "its value" if name in _SECRET else repr(text)
            raise UsageError(
                f"{value} cannot be used",
                where=f"setting {name}",
                expected=expected,
                hint="correct it, or unset it to use the default; nothing was started",
            )
