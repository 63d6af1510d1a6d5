"""# heart_training

Trains, compares and registers heart-disease models from patient records, every night.

- **ingest** parses the source and stores its values before validation.
- **validate** validates the records against the data contract (a Great Expectations checkpoint). Bad rows go to
  quarantine; a bad set stops the run.
- **preprocess** splits the snapshot into training set and hold-out, and plans the shared folds.
- **train** fits and evaluates the families in parallel. A smoke test loads each bundle into the service.
- **compare** runs paired tests on the shared folds: is a family better than production's?
- **register** registers a version of each family, and points `staging` at the winner.

`production` is moved by a user (`./heartline promote`, or MLflow's UI). The run moves it itself if `promotion` is
`if_better`, the verdict is *better*, the comparison included the family and search space of the version in production,
and it is a look (at least 25 % new training records) whose p-value is at most the look's level.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. Correct that, then clear
the task; the results of earlier tasks are kept.
"""

import os
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, result, task

from dag_assets import CANDIDATE, PRODUCTION, SNAPSHOT
from dag_defaults import DEFAULT_ARGS, TAG_HEARTLINE, TAG_TRAINING
from heartline import dag_ids, parameters


@dag(
    dag_id=dag_ids.TRAINING,
    dag_display_name="Heart-disease training",
    description="Nightly training: ingest, validate, preprocess, train, compare, register",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_TRAINING],
    schedule=CronTriggerTimetable(
        os.environ.get("HEARTLINE_SCHEDULE") or "0 2 * * *",
        timezone=os.environ.get("HEARTLINE_TIMEZONE") or "UTC",
        # False would start last night's run in a new stack, up to a tenth of the interval later
        run_immediately=timedelta(0),
    ),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={one.name: Param(**one.form()) for one in parameters.PARAMETERS},
)
def heart_training():
    @result
    @task
    def ingest(params, dag_run):
        from heartline.pipeline.ingest import ingest

        return ingest(
            **parameters.chosen(params, "source", "query", "mapping", "encoding", "patient", "until"),
            given={**params, **(dag_run.conf or {})},
        )

    @result
    @task(outlets=[SNAPSHOT])
    def validate(ingested, params, run_id):
        from heartline.pipeline.validate import validate

        return validate(
            ingested, run=run_id, **parameters.chosen(params, "encoding", "max_quarantine", "max_drift", "until")
        )

    @result
    @task
    def preprocess(validated, params):
        from heartline.pipeline.preprocess import for_each_family

        return for_each_family(
            validated, **parameters.chosen(params, "families", "profile", "seed", "promotion", "until", "force")
        )

    @task(map_index_template="{{ family }}")
    def train(family, prepared, run_id):
        from heartline.pipeline.train import train

        return train(family, prepared, run=run_id)

    @result
    @task
    def compare(trained, prepared, params, run_id):
        from heartline.pipeline.compare import compare

        return compare(list(trained), prepared[0]["prepared"], run=run_id, **parameters.chosen(params, "until"))

    @result
    @task(outlets=[CANDIDATE, PRODUCTION])
    def register(compared, params, run_id, dag_run):
        from heartline.pipeline.register import register

        return register(
            compared,
            run=run_id,
            by=dag_run.triggering_user_name or "schedule",
            **parameters.chosen(params, "promotion"),
        )

    prepared = preprocess(validate(ingest()))
    register(compare(train.expand_kwargs(prepared), prepared))


heart_training()
