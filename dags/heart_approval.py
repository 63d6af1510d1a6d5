"""# heart_approval

Asks a person whether a version goes into production. *Browse*, *Required Actions* lists what is open.

- **request** decides whether a person is asked, and collects what the decision is about.
- **replaced** and **withdraw** end the runs whose open request this one replaces.
- **ask** waits for *Approve* or *Reject* with a reason. Without an answer in time, the version is not approved.
- **decide** enters the answer in the ledger. After an approval it signs the version and moves `production`.

A run starts with each new candidate of `heart_training`, once a day for a candidate whose event was lost, and by hand
with the parameter `version`. It asks if the verdict is *better*, if the training run had `promotion` = `approval`, or
if it was started by hand; else it ends without a question, and its note says why.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. An answer that does not count
(no reason, the wrong person) opens the same request again within seconds; the log of `ask` says why.
"""

import os

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task

from heartline import dag_ids
from orchestration.approval_operator import AskForApproval
from orchestration.assets import CANDIDATE, PRODUCTION
from orchestration.defaults import DEFAULT_ARGS, TAG_APPROVAL, TAG_HEARTLINE


@dag(
    dag_id=dag_ids.APPROVAL,
    dag_display_name="Heart-disease approval",
    description="A person approves or rejects a version, with a reason",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_APPROVAL],
    schedule=AssetOrTimeSchedule(
        # once a day for a candidate whose asset event Airflow has lost
        timetable=CronTriggerTimetable("0 7 * * *", timezone=os.environ.get("HEARTLINE_TIMEZONE") or "UTC"),
        assets=[CANDIDATE],
    ),
    catchup=False,
    max_active_runs=16,  # a run that waits for an answer must not keep a newer one from replacing it
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={
        "version": Param(
            None,
            type=["string", "null"],
            pattern=r"^[1-9][0-9]*$",
            title="Version",
            description_md="Number of the registered version that a person is asked about, such as **7**. Empty: the "
            "staged version, if it needs an answer.",
        )
    },
)
def heart_approval():
    @task
    def request(params, dag_run, ti, triggering_asset_events):
        from heartline.pipeline.request_approval import request

        return request(
            params["version"],
            run=dag_run.run_id,
            by=dag_run.triggering_user_name,
            events=[event.extra for event in triggering_asset_events[CANDIDATE]],
            active=lambda run: ti.get_dr_count(dag_ids.APPROVAL, run_ids=[run], states=["queued", "running"]) > 0,
        )

    @task(outlets=[PRODUCTION])
    def decide(request, answer, run_id):
        from heartline.pipeline.decide import decide

        return decide(request, answer, run=run_id)

    @task
    def replaced(request):
        from heartline.pipeline.request_approval import replaced

        return replaced(request)

    requested = request()
    # a cleared run finds that its request was withdrawn, and ends
    TriggerDagRunOperator.partial(
        task_id="withdraw", trigger_dag_id=dag_ids.APPROVAL, reset_dag_run=True, logical_date=None
    ).expand(trigger_run_id=replaced(requested))
    decide(requested, AskForApproval(task_id="ask", request=requested).output)


heart_approval()
