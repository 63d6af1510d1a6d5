"""# heart_monitoring

Is the version in production still right? Every day, for the day before (UTC): what the service answered, and the
outcomes that arrived.

- **outcomes** adds the outcomes of `HEARTLINE_OUTCOMES` to the prediction log. Without it, outcomes come by
  `POST /outcomes` only.
- **days** computes the days that are missing, in their order: harm (is it worse than at its training), drift (are the
  patients others), completeness (is the input complete), and the shadow (would the candidate have done better).
- **alarms** enters each alarm in the ledger, once, tells the team, and emits the asset *harm*, which starts
  `heart_training`. Drift starts nothing: other patients need not do a model any harm.
- **net** looks whether an open alarm of harm has started no training run, as an event can get lost; **retrain** starts
  one then.

The run's note is the day in one sentence. `dags/README.md` says what each alarm means, how often it is false, and what
to do.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. Correct that, then clear
the task. A day that is stored is not computed again, and the next run computes what is missing.
"""

import os
from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import CronTriggerTimetable, Param, dag, result, task

from heartline import dag_ids
from heartline.parameters import monitoring as parameters
from orchestration import notify
from orchestration.assets import HARM
from orchestration.defaults import DEFAULT_ARGS, TAG_HEARTLINE, TAG_MONITORING

STARTED = ["running", "success", "failed"]  # a queued run may be one that Airflow does not start

RUNBOOK = {
    "outcomes": """Reads the table of outcomes, if one is set, and adds to the prediction log what is new.

**When it is red:** the source cannot be reached, or is no table of outcomes. The log says which. Correct the source or
the parameter, then clear the task. The days do not wait for it: an outcome counts on the day when it arrives.

Rows that cannot be used do not make it red; the log names the reasons, and the file that lists them.""",
    "days": """Computes the days that are missing, for each version that answered or is in production.

**When it is red:** the prediction log, MLflow, the ledger or the store was away for an hour, or the service has not
brought the log's tables up to date: the log says which. Clear the task when it is back. Days that are stored stay.

A version without a reference (deleted, or of an early release) is left out; the run's note says so.""",
    "alarms": """Enters alarms in the ledger, tells the team, and emits the asset *harm*.

**When it is red:** the ledger or the monitoring's database was away for an hour. Clear the task. An alarm is entered
once; the team may be told of it twice.""",
    "net": """Finds open alarms of harm that have started no training run.

**When it is red:** the ledger or the monitoring's database was away for an hour. Clear the task.""",
    "retrain": """Starts a training run for such an alarm, with the id `harm__` and the number of the alarm's entry.

Skipped: there is nothing to start, or that run was started before. **When it is red:** Airflow refused the run; trigger
`heart_training` by hand.""",
}


@dag(
    dag_id=dag_ids.MONITORING,
    dag_display_name="Heart-disease monitoring",
    description="Daily monitoring: outcomes, harm, drift, completeness, shadow",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_MONITORING],
    schedule=CronTriggerTimetable(
        os.environ.get("HEARTLINE_MONITORING_SCHEDULE") or "30 0 * * *", timezone="UTC", run_immediately=timedelta(0)
    ),
    catchup=False,  # a run computes all days that are missing
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={one.name: Param(**one.form()) for one in parameters.PARAMETERS},
)
def heart_monitoring():
    @result
    @task(doc_md=RUNBOOK["outcomes"], execution_timeout=timedelta(hours=2))
    def outcomes(params, dag_run):
        from heartline.pipeline.monitor import outcomes

        return outcomes(
            parameters.chosen(params)["outcomes"],
            parameters.chosen(params)["query"],
            given={**params, **(dag_run.conf or {})},
        )

    @result
    @task(doc_md=RUNBOOK["days"], execution_timeout=timedelta(hours=12))
    def days(params, dag_run):
        from heartline.pipeline.monitor import days

        return days(parameters.chosen(params)["day"], given={**params, **(dag_run.conf or {})})

    @result
    @task(doc_md=RUNBOOK["alarms"], execution_timeout=timedelta(minutes=30), outlets=[HARM])
    def alarms(monitored, run_id, ti):
        from heartline.pipeline.monitor import alarms

        return alarms(
            monitored,
            run=run_id,
            tell=notify.alarm,
            started=lambda: ti.get_dr_count(dag_ids.TRAINING, states=STARTED),
        )

    @task(doc_md=RUNBOOK["net"], execution_timeout=timedelta(minutes=30))
    def net(alarmed, ti):
        from heartline.pipeline.monitor import net

        return net(alarmed, started=lambda: ti.get_dr_count(dag_ids.TRAINING, states=STARTED))

    outcomes()  # beside the others: what arrives today counts tomorrow, and its failure must not stop the days
    TriggerDagRunOperator.partial(
        task_id="retrain",
        trigger_dag_id=dag_ids.TRAINING,
        logical_date=None,
        skip_when_already_exists=True,
        doc_md=RUNBOOK["retrain"],
        execution_timeout=timedelta(minutes=30),
    ).expand(trigger_run_id=net(alarms(days())))


heart_monitoring()
