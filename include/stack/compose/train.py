"""`python -m stack.compose.train`: triggers a training run of a compose project, and follows it.

A wrong parameter is refused before anything is triggered; the exit codes are the launcher's.
"""

import json
import os
import sys
from pathlib import Path

import click

from heartline.errors import HeartlineError
from stack import console
from stack.clients.airflow import Airflow
from stack.commands import train
from stack.commands.follow import follow
from stack.commands.usage import usage_error
from stack.errors import Exit, StackError
from stack.settings import DAG, USER

URL = "http://airflow-api-server:4200"
PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"


@click.command()
@click.option("--source", metavar="S", help="Source of the records; a file must be in the folder HEARTLINE_DATA.")
@click.option("--set", "assigned", metavar="PARAM=VALUE", multiple=True, help="A parameter; may be repeated.")
def cli(source: str | None, assigned: tuple[str, ...]) -> None:
    """Trigger a training run and follow it. Exit code 1 if it fails."""
    given = train.run_parameters(source, assigned, usual_source=os.environ.get("HEARTLINE_SOURCE"))
    password = json.loads(Path(os.environ[PASSWORDS]).read_text())[USER]
    airflow = Airflow(URL, password)
    train.wait_for_dag(airflow)
    run = airflow.trigger(DAG, given)
    address = os.environ.get("AIRFLOW__API__BASE_URL", URL).rstrip("/")
    console.say(f"training: {address}/dags/{DAG}/runs/{run}")
    follow(airflow, DAG, run)
    print(json.dumps(airflow.returned(DAG, run, train.LAST_TASK), indent=2, default=str))


def main() -> None:
    """Run the command. Every error is printed in the project's error shape."""
    try:
        cli(prog_name="python -m stack.compose.train", standalone_mode=False)
    except click.ClickException as error:
        console.fail(usage_error(error))
        sys.exit(Exit.USAGE)
    except HeartlineError as error:
        console.fail(error)
        sys.exit(error.code if isinstance(error, StackError) else Exit.FAILED)


if __name__ == "__main__":
    main()
