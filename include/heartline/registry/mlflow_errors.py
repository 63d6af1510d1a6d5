"""Says what went wrong between a task and MLflow, and whether waiting can help."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import requests
from mlflow.exceptions import MlflowException

from heartline import addresses
from heartline.errors import RegistryError, RegistryRefusedError

# Statuses below 500 that pass by waiting: a proxy's time-out, a conflict with another writer, too many requests.
TRANSIENT = (408, 409, 425, 429)
_SHOWN_CHARACTERS = 300
# MLflow answers 400 when its database refuses a row that another request is inserting.
_RACE = re.compile(r"UniqueViolation|UNIQUE constraint failed|deadlock detected|database is locked", re.IGNORECASE)
_REPEATED = re.compile(r"too many (\d{3}) error responses")  # urllib3, after MLflow's client tried several times


class DeletedExperimentError(Exception):
    """An experiment that a run belongs to was deleted.

    Args:
        name: its name.
        experiment_id: its id.
    """

    def __init__(self, name: str, experiment_id: str) -> None:
        super().__init__(f"the experiment {name} was deleted")
        self.experiment_id = experiment_id


@contextmanager
def reaching_mlflow(doing: str) -> Iterator[None]:
    """Turn the errors of MLflow's client into ours.

    Args:
        doing: the work, as an infinitive.

    Raises:
        RegistryRefusedError: MLflow refuses; a retry cannot change that.
        RegistryError: MLflow cannot be reached, or fails.
    """
    try:
        yield
    except DeletedExperimentError as error:
        raise _deleted(doing, error) from error
    except (MlflowException, requests.RequestException) as error:
        raise _error(doing, error) from error


def lost_race(error: Exception) -> bool:
    """Return whether MLflow failed because another request wrote the same row; the same request then succeeds."""
    return _RACE.search(str(error)) is not None


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of MLflow's answer; None without an answer, as where the connection was refused."""
    if isinstance(error, requests.RequestException):
        return error.response.status_code if error.response is not None else None
    if repeated := _REPEATED.search(str(error)):
        return int(repeated[1])
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    if any(isinstance(one, requests.RequestException | OSError) for one in chain):
        return None  # MLflow's client calls it an internal error
    return int(error.get_http_status_code()) if isinstance(error, MlflowException) else None  # type: ignore[no-untyped-call]


def _error(doing: str, error: Exception) -> RegistryError:
    status = status_of(error)
    message = str(error).splitlines()[0][:_SHOWN_CHARACTERS] if str(error) else type(error).__name__
    what, where = f"MLflow could not {doing}: {message}", f"MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}"
    if status is None:
        return RegistryError(
            what,
            where=where,
            expected="an MLflow server that answers",
            hint="check that MLflow runs (./heartline status); Airflow retries the task",
        )
    if status >= 500 or status in TRANSIENT or lost_race(error):
        return RegistryError(
            what,
            where=where,
            expected=f"an answer without an error; MLflow answered {status}",
            hint="see MLflow's log (./heartline logs mlflow), and check that its database runs; Airflow retries the "
            "task",
        )
    expected, hint = _REFUSALS.get(status, _REFUSED)
    return RegistryRefusedError(what, where=where, expected=expected, hint=f"{hint}; a retry cannot change this")


_REFUSED = (
    "a request that MLflow accepts",
    "see MLflow's log (./heartline logs mlflow), and check that its version is the one in requirements.txt",
)
_REFUSALS = {
    401: ("a login that MLflow accepts", "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    403: (
        "a permission for this request, and a host name that MLflow allows",
        "check the permissions of the user in MLFLOW_TRACKING_USERNAME, and the server's --allowed-hosts",
    ),
    404: (
        "an existing resource of an MLflow server at this address",
        "check in MLflow's UI whether it was deleted (if so, trigger a new run), and that MLFLOW_TRACKING_URI is right",
    ),
}


def _deleted(doing: str, error: DeletedExperimentError) -> RegistryRefusedError:
    command = f"experiments restore --experiment-id {error.experiment_id}"
    program = Path(sys.executable).with_name("mlflow")
    return RegistryRefusedError(
        f"MLflow could not {doing}: {error}",
        where=f"MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}",
        expected="an active experiment; MLflow creates no second one with this name",
        hint=f"restore it: MLFLOW_TRACKING_URI={addresses.public(addresses.MLFLOW)} {program} {command} "
        f"(docker compose: docker compose exec airflow-scheduler mlflow {command}); then clear the task",
    )
