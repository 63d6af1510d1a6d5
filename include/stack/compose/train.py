"""`python -m stack.compose.train`: triggers a training run of a compose project, and follows it.

A wrong parameter is refused before anything is triggered; the exit codes are the launcher's.
"""

import json
import os
from pathlib import Path
from typing import NoReturn

import click

from heartline import addresses
from heartline.ingestion.mapping import catalog as mapping_catalog
from stack import console
from stack.clients.airflow import Airflow
from stack.clients.mlflow import Registry
from stack.commands.training import source_access, train
from stack.commands.training.follow import follow
from stack.commands.training.patience import Patience
from stack.commands.usage import run
from stack.settings import DAG, USER

URL = "http://airflow-api-server:4200"
PROMOTE = 'docker compose exec airflow-scheduler python -m stack.compose.promote promote --by "$(id -un)"'
PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"


@click.command()
@click.option("--source", metavar="S", help="Source of the records; - is a file on standard input.")
@click.option(
    "--mapping",
    metavar="M",
    help="How the file's columns and words become the contract's: a file in the container, YAML or JSON, or one of "
    f"{', '.join(mapping_catalog.NAMES)}.",
)
@click.option("--set", "assigned", metavar="PARAM=VALUE", multiple=True, help="A parameter; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cli(source: str | None, mapping: str | None, assigned: tuple[str, ...], as_json: bool) -> None:
    """Trigger a training run, follow it, and print what it did. Exit code 1 if it fails."""
    if source == "-":
        named = train.assignments(assigned).get("patient")
        source = source_access.from_stdin(os.environ, patient=str(named or ""))
    given = train.run_parameters(source, assigned, mapping=mapping, usual_source=os.environ.get("HEARTLINE_SOURCE"))
    password = json.loads(Path(os.environ[PASSWORDS]).read_text())[USER]
    airflow = Airflow(URL, password)
    train.wait_for_dag(airflow)
    run_id = airflow.trigger(DAG, given)
    console.say(f"training: {addresses.airflow_run(run_id)}")
    patience = Patience()
    follow(airflow, DAG, run_id, patience)
    result = patience(lambda: train.result_of(airflow, run_id))
    registry = Registry(os.environ["MLFLOW_TRACKING_URI"])
    train.conclude(airflow, registry, run_id, result, patience, as_json=as_json, promote=PROMOTE)


def main() -> NoReturn:
    """Run the command line. The exit codes are the launcher's."""
    run(cli, "python -m stack.compose.train")


if __name__ == "__main__":
    main()
