"""# heart_training

Turns patient records into a registered heart-disease model, every night.

**ingest** reads the source into a snapshot · **validate** holds it against the data contract (a Great Expectations
checkpoint): bad rows go to quarantine, a bad set stops the run here · **preprocess** divides it into training set,
hold-out and shared folds · **train** fits each family at the same time, and lets the service answer from its bundle ·
**compare** says whether one is better than what is in production, by paired tests on the shared folds · **register**
puts them into MLflow's registry and points `staging` at the winner.

`production` is moved by people (`./heartline promote`, or MLflow's UI), or by the run itself when `promotion` is
`if_better`, the verdict is *better*, and what was beaten is production's own recipe.

When a task is red: its log ends with what was wrong, where, what was expected and what to do. Mend that, then clear
the task; earlier results are kept.
"""

import os
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, ExceptionRetryPolicy, Param, RetryAction, RetryRule, dag, task

from heartline import contract, dag_ids
from heartline.ingestion import source_catalog

FAMILIES = ["logistic_regression", "random_forest"]

default_args = {
    "owner": "heartline",
    "retries": 3,
    "retry_delay": timedelta(seconds=15),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception="heartline.errors.DataError",
                action=RetryAction.FAIL,
                reason="the records themselves are wrong: trying again changes nothing",
            ),
            RetryRule(
                exception="heartline.errors.NoCandidateError",
                action=RetryAction.FAIL,
                reason="no family is left: what comes before has to change",
            ),
            RetryRule(
                exception="heartline.errors.ComparisonError",
                action=RetryAction.FAIL,
                reason="the families were not evaluated on the same grounds: what comes before has to change",
            ),
        ]
    ),
}


@dag(
    dag_id=dag_ids.TRAINING,
    dag_display_name="Heart-disease training",
    description="Records in, a registered model out: ingest, validate, preprocess, train, compare, register",
    doc_md=__doc__,
    tags=["heartline", "training"],
    schedule=CronTriggerTimetable(
        os.environ.get("HEARTLINE_SCHEDULE", "0 2 * * *"), timezone=os.environ.get("HEARTLINE_TIMEZONE", "UTC")
    ),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=default_args,
    params={
        "source": Param(
            os.environ.get("HEARTLINE_SOURCE", "sample"),
            type="string",
            minLength=1,
            maxLength=2000,
            title="Source of the records",
            description=source_catalog.form_description(),
        ),
        "query": Param(
            None,
            type=["null", "string"],
            maxLength=10_000,
            title="Query",
            description=source_catalog.query_description(),
        ),
        "encoding": Param(
            "auto",
            enum=["auto", "uci", "kaggle"],
            title="Encoding",
            description="`auto` decides from the file's codes, names and label, and stops where these conflict. `uci` "
            "and `kaggle` (other codes, the label inverted) are taken as said.",
        ),
        "max_quarantine": Param(
            contract.MAX_QUARANTINE_SHARE,
            type="number",
            minimum=0,
            maximum=1,
            title="Largest share of rows in quarantine",
            description="Rows that break the contract are set aside and kept. Above this share the run stops.",
        ),
        "max_drift": Param(
            contract.MAX_DRIFT,
            type="number",
            exclusiveMinimum=0,
            maximum=100,
            title="Largest drift",
            description="Kullback-Leibler divergence of a column from the snapshot of the version in production. "
            "Raise it where a change is meant, for example when another hospital's records come in.",
        ),
        "profile": Param(
            "full",
            enum=["quick", "full"],
            title="Profile",
            description="`full`: 10 × 10 folds, forests of 300 trees. `quick`: 5 × 2 folds, 100 trees, for trying "
            "things out; its numbers are labelled as such.",
        ),
        "promotion": Param(
            "manual",
            enum=["manual", "if_better"],
            title="Promotion",
            description="`manual`: a person moves `production`. `if_better`: the run moves it when the winner is "
            "better than what it replaces; *no detectable difference* never moves it, nor a comparison in which "
            "production's own recipe did not take part.",
        ),
        "seed": Param(
            0,
            type="integer",
            minimum=0,
            maximum=2**31 - 1,
            title="Seed",
            description="Of the folds and of the models' own randomness.",
        ),
    },
)
def heart_training():
    @task
    def ingest(params):
        from heartline.pipeline.ingest import ingest

        return ingest(params["source"], query=params["query"])

    @task
    def validate(ingested, params, run_id):
        from heartline.pipeline.validate import validate

        return validate(
            ingested,
            encoding=params["encoding"],
            max_quarantine=params["max_quarantine"],
            max_drift=params["max_drift"],
            run=run_id,
        )

    @task
    def preprocess(validated, params):
        from heartline.pipeline.preprocess import preprocess

        return preprocess(validated, profile=params["profile"], seed=params["seed"])

    @task(map_index_template="{{ family }}")
    def train(family, prepared, run_id):
        from heartline.pipeline.train import train

        return train(family, prepared, run=run_id)

    @task
    def compare(trained, prepared, run_id):
        from heartline.pipeline.compare import compare

        return compare(list(trained), prepared, run=run_id)

    @task
    def register(compared, params, run_id):
        from heartline.pipeline.register import register

        return register(compared, promote=params["promotion"], run=run_id)

    prepared = preprocess(validate(ingest()))
    trained = train.partial(prepared=prepared).expand(family=FAMILIES)
    register(compare(trained, prepared))


heart_training()
