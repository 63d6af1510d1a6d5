"""Lets Airflow's scheduler find the deadline of the nightly run."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from orchestration import deadline


class HeartlineDeadline(AirflowPlugin):
    """Registers the time of day by which there is to be a fresh model."""

    name = "heartline_deadline"
    deadline_references: ClassVar[list[Any]] = [deadline.AfterSchedule]
