"""# heart_scoring

Scores the records of a file, an address or a database with one registered version.

- **plan** checks the parameters, pins the version (the one in production, or `version`), and finds the chunks of the
  input.
- **score** scores one chunk: each record is checked by the contract that the model carries, and answered by its ONNX
  export, as `POST /predict` answers. Chunks spread over the workers.
- **finish** checks that every row is there, writes the manifest, and enters the run in the ledger.

Each row of the input has one row in the output, in its order: a probability, or the reason why it was rejected. The
columns are described in `docs/scoring.md`.

When a task fails: its log ends with what was wrong, where, what was expected and a hint. Correct that, then clear
the task; a part that is written again has the same bytes.
"""

from airflow.sdk import Param, dag, task

from heartline import dag_ids
from heartline.parameters import scoring as parameters
from orchestration.assets import SCORES
from orchestration.defaults import DEFAULT_ARGS, TAG_HEARTLINE, TAG_SCORING


@dag(
    dag_id=dag_ids.SCORING,
    dag_display_name="Heart-disease scoring",
    description="Batch scoring: plan, score each chunk, finish",
    doc_md=__doc__,
    tags=[TAG_HEARTLINE, TAG_SCORING],
    schedule=None,
    catchup=False,
    max_active_runs=4,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params={one.name: Param(**one.form()) for one in parameters.PARAMETERS},
)
def heart_scoring():
    @task
    def plan(params, dag_run, run_id):
        from heartline.scoring.tasks import plan

        return plan(run=run_id, **parameters.chosen(params), given={**params, **(dag_run.conf or {})})

    @task(map_index_template="{{ chunk['number'] }}")
    def score(chunk):
        from heartline.scoring.tasks import score

        return score(chunk)

    @task(outlets=[SCORES])
    def finish(scored, planned):
        from heartline.scoring.tasks import finish

        return finish(list(scored), planned)

    planned = plan()
    finish(score.expand(chunk=planned), planned)


heart_scoring()
