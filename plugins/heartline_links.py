"""Links from Airflow to MLflow and the service: in the navigation, and on the tasks whose results MLflow holds."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from heartline import addresses, dag_ids

# By task of the training DAG, the field of its result that holds the id of its MLflow run.
RUN_FIELDS = {"validate": "validation_run", "train": "run_id", "compare": "comparison_run"}


class RunInMlflow(BaseOperatorLink):
    """The MLflow run of a task."""

    name = "Run in MLflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return its address, "" for a task without one, or one that has not ended."""
        field = RUN_FIELDS.get(ti_key.task_id) if ti_key.dag_id == dag_ids.TRAINING else None
        run_id = str(_result(ti_key).get(field) or "") if field else ""
        return addresses.mlflow_run_by_id(run_id) if run_id else ""


class VersionInMlflow(BaseOperatorLink):
    """The version that the task ``register`` points ``staging`` at."""

    name = "Version in MLflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return its address, "" for another task, or one that registered no winner."""
        if (ti_key.dag_id, ti_key.task_id) != (dag_ids.TRAINING, "register"):
            return ""
        version = str(_result(ti_key).get("version") or "")
        return addresses.version(version) if version else ""


def _result(ti_key: Any) -> dict[str, Any]:
    """Return what a task returned, as XCom stores it; empty where it has not ended."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.execute(
            XComModel.get_many(
                key="return_value",
                run_id=ti_key.run_id,
                dag_ids=ti_key.dag_id,
                task_ids=ti_key.task_id,
                map_indexes=ti_key.map_index,
            ).with_only_columns(XComModel.value)
        ).first()
    value = XComModel.deserialize_value(found) if found else None
    return value if isinstance(value, dict) else {}


class HeartlineLinks(AirflowPlugin):
    """Adds MLflow's pages and the service to the "Browse" menu, and MLflow's pages to the tasks."""

    name = "heartline_links"
    # Of all operators: Airflow matches other links by the name of a private class, and all tasks share it.
    global_operator_extra_links: ClassVar[list[BaseOperatorLink]] = [RunInMlflow(), VersionInMlflow()]
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Models in MLflow",
            "href": addresses.model(),
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Runs in MLflow",
            "href": addresses.experiments(),
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Prediction service",
            "href": f"{addresses.public(addresses.SERVICE)}/",
            "destination": "nav",
            "category": "browse",
        },
    ]
