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
`if_better`, the verdict is *better*, and the family that was beaten has production's recipe.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. Correct that, then clear
the task; the results of earlier tasks are kept.
"""

import os

from airflow.sdk import CronTriggerTimetable, Param, dag, task

from dag_defaults import DEFAULT_ARGS, TAG_HEARTLINE, TAG_TRAINING
from heartline import contract, dag_ids
from heartline.ingestion import mapping_catalog, source_catalog
from heartline.training.family_names import FAMILY_NAMES


@dag(
    dag_id=dag_ids.TRAINING,
    dag_display_name="Heart-disease training",
    description="Nightly training: ingest, validate, preprocess, train, compare, register",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_TRAINING],
    schedule=CronTriggerTimetable(
        os.environ.get("HEARTLINE_SCHEDULE", "0 2 * * *"), timezone=os.environ.get("HEARTLINE_TIMEZONE", "UTC")
    ),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={
        "source": Param(
            os.environ.get("HEARTLINE_SOURCE", "sample"),
            type="string",
            minLength=1,
            maxLength=2000,
            title="Source of the records",
            description=source_catalog.form_description(),
            **source_catalog.form_schema(),
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
            description="`auto` decides from the file's codes, names and label, and stops the run if these conflict. "
            "`uci` or `kaggle` (other codes, inverted label) overrides that decision.",
        ),
        "mapping": Param(
            os.environ.get("HEARTLINE_MAPPING") or None,
            type=["null", "string"],
            format="multiline",
            maxLength=20_000,
            title="Mapping",
            description=mapping_catalog.form_description(),
        ),
        "max_quarantine": Param(
            contract.MAX_QUARANTINE_SHARE,
            type="number",
            minimum=0,
            maximum=1,
            title="Largest share of rows in quarantine",
            description="Rows that violate the contract are quarantined. Above this share the run stops.",
        ),
        "max_drift": Param(
            contract.MAX_DRIFT,
            type="number",
            exclusiveMinimum=0,
            maximum=100,
            title="Largest drift",
            description="Kullback-Leibler divergence of a column from the snapshot of the version in production. "
            "Raise it if a change is intended, for example for the records of another hospital.",
        ),
        "profile": Param(
            "full",
            enum=["quick", "full"],
            title="Profile",
            description="`full`: 10 × 10 folds, forests of 300 trees. `quick`: 5 × 2 folds, 100 trees, for "
            "experiments; reports label its numbers as quick.",
        ),
        "promotion": Param(
            "manual",
            enum=["manual", "if_better"],
            title="Promotion",
            description="`manual`: only a user moves `production`. `if_better`: the run moves it if the verdict is "
            "*better* and production's own recipe took part in the comparison.",
        ),
        "seed": Param(
            0,
            type="integer",
            minimum=0,
            maximum=2**31 - 1,
            title="Seed",
            description="Seed of the folds and of the models.",
        ),
    },
)
def heart_training():
    @task
    def ingest(params):
        from heartline.pipeline.ingest import ingest

        return ingest(params["source"], query=params["query"], mapping=params["mapping"], encoding=params["encoding"])

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

        return register(compared, promotion=params["promotion"], run=run_id)

    prepared = preprocess(validate(ingest()))
    trained = train.partial(prepared=prepared).expand(family=list(FAMILY_NAMES))
    register(compare(trained, prepared))


heart_training()
