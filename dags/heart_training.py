"""# heart_training

Trains, compares and registers heart-disease models from patient records, every night, and when `heart_monitoring` finds
that the version in production is worse than at its training (asset *harm*). The run's note says what came of
it: the verdict, *nothing new*, or which task stopped it.

- **ingest** parses the source and stores its values before validation.
- **validate** validates the records against the data contract (a Great Expectations checkpoint). Bad rows go to
  quarantine; a bad set stops the run.
- **preprocess** splits the snapshot into training set and hold-out, and plans the shared folds. If these records,
  parameters and code are registered already, the run ends here as *nothing new*; `force` trains again.
- **train** fits and evaluates the families in parallel. A smoke test loads each bundle into the service.
- **compare** runs paired tests on the shared folds: is a family better than production's?
- **register** registers a version of each family, and points `staging` at the winner.

`production` is moved by a user (`./heartline promote`, or MLflow's UI). The run moves it itself if `promotion` is
`if_better`, the verdict is *better*, the comparison included the family and search space of the version in production,
and it is a look (at least 25 % new training records) whose p-value is at most the look's level.

The parameter `until` ends the run after an earlier task. Skipped tasks are no failure.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. Correct that, then clear
the task; the results of earlier tasks are kept.
"""

import os
from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, result, task

from heartline import dag_ids
from heartline.parameters import training as parameters
from orchestration import deadline
from orchestration.assets import CANDIDATE, HARM, PRODUCTION, SNAPSHOT
from orchestration.defaults import DEFAULT_ARGS, TAG_HEARTLINE, TAG_TRAINING

RUNBOOK = {
    "ingest": """Checks the run's parameters, reads the source, and stores its values before validation.

**When it is red:** the source cannot be reached or is no table of records, a mapping does not fit it, or a parameter is
wrong. The log says which. Correct the source, the mapping or the parameter; then clear the task, or trigger a new run
if a parameter was wrong.""",
    "validate": """Checks the records against the data contract; those that pass become the snapshot.

**When it is red:** the records were refused, and nothing was trained; the version in production stays. The log and
*Data quality* (a tab of the run) name columns, rows and limits. Correct the source and trigger a new run. Raise
`max_quarantine` or `max_drift` only if the change is intended.""",
    "preprocess": """Splits the snapshot into training set and hold-out, and plans the folds that all families share.
Ends the run if there is *nothing new*.

**When it is red:** there are too few records of a class, often because many are in quarantine. Train on more records,
or correct those in quarantine, whose file the log names.""",
    "train": """Evaluates, fits, packs and tests one family.

**When it is red:** MLflow was away for an hour, or the service's environment is missing: the log says which. Repair it
(`./heartline status`), then clear the task. A family that does not converge or cannot be served does not make the task
red; it is left out.""",
    "compare": """Compares the families by paired tests on the shared folds, and stores the evidence.

**When it is red:** no family converged, none can be served, or MLflow was away for an hour. The log says which. Check
that the records are the intended ones; clear the task `train` for all families if they were evaluated on others.""",
    "register": """Registers a version of each family, points `staging` at the winner, and moves `production` where the
run may.

**When it is red:** MLflow, the ledger or the store was away for an hour, or a bundle is damaged: the log says which.
Clear the task when the server is back; nothing is registered twice. After a damaged bundle clear `train`.""",
}


@dag(
    dag_id=dag_ids.TRAINING,
    dag_display_name="Heart-disease training",
    description="Nightly training: ingest, validate, preprocess, train, compare, register",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_TRAINING],
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(
            os.environ.get("HEARTLINE_SCHEDULE") or "0 2 * * *",
            timezone=os.environ.get("HEARTLINE_TIMEZONE") or "UTC",
            # False would start last night's run in a new stack, up to a tenth of the interval later
            run_immediately=timedelta(0),
        ),
        assets=[HARM],
    ),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    deadline=deadline.alert(),
    params={one.name: Param(**one.form()) for one in parameters.PARAMETERS},
)
def heart_training():
    @result
    @task(doc_md=RUNBOOK["ingest"], execution_timeout=timedelta(hours=2))
    def ingest(params, dag_run):
        from heartline.pipeline.ingest import ingest

        return ingest(
            **parameters.chosen(params, "source", "query", "mapping", "encoding", "patient", "until"),
            given={**params, **(dag_run.conf or {})},
        )

    @result
    @task(doc_md=RUNBOOK["validate"], execution_timeout=timedelta(hours=4), outlets=[SNAPSHOT])
    def validate(ingested, params, run_id):
        from heartline.pipeline.validate import validate

        return validate(
            ingested, run=run_id, **parameters.chosen(params, "encoding", "max_quarantine", "max_drift", "until")
        )

    @result
    @task(doc_md=RUNBOOK["preprocess"], execution_timeout=timedelta(hours=4))
    def preprocess(validated, params):
        from heartline.pipeline.preprocess import for_each_family

        return for_each_family(
            validated, **parameters.chosen(params, "families", "profile", "seed", "promotion", "until", "force")
        )

    @task(doc_md=RUNBOOK["train"], execution_timeout=timedelta(hours=24), map_index_template="{{ family }}")
    def train(family, prepared, run_id):
        from heartline.pipeline.train import train

        return train(family, prepared, run=run_id)

    @result
    @task(doc_md=RUNBOOK["compare"], execution_timeout=timedelta(hours=12))
    def compare(trained, prepared, params, run_id):
        from heartline.pipeline.compare import compare

        return compare(list(trained), prepared[0]["prepared"], run=run_id, **parameters.chosen(params, "until"))

    @result
    @task(doc_md=RUNBOOK["register"], execution_timeout=timedelta(hours=2), outlets=[CANDIDATE, PRODUCTION])
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
