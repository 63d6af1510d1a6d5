"""The tasks of a training run as a Prefect flow; its argument is JSON. It runs with the packages of prefect.in."""

import tasks
from prefect import flow, task


@flow
def training(source: str, profile: str, seed: int, run: str) -> None:
    """Run the tasks, with the families at the same time."""
    validated = task(tasks.validate)(task(tasks.ingest)(source), run)
    prepared = task(tasks.preprocess)(validated, profile, seed)
    train = task(tasks.train)
    waiting = [train.submit(family, prepared, run) for family in tasks.FAMILIES]
    compared = task(tasks.compare)([one.result() for one in waiting], prepared, run)
    tasks.expect_registered(task(tasks.register)(compared, run))


if __name__ == "__main__":
    training(**tasks.given())
