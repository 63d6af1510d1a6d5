"""The trigger form describes the sources of the catalogue, and the ids of the DAGs stand in one place."""

import ast

from heartline import dag_ids
from tests.conftest import ROOT
from tests.dags.airflow_process import DAGS, result

PROBE = """
import json, sys
from dataclasses import replace
from airflow.dag_processing.dagbag import DagBag
from heartline.ingestion import source_catalog

new = replace(source_catalog.find("postgres"), origin="ward", pattern="ward", spelled=("ward",), description="a ward")
source_catalog.SOURCES += (new,)
bag = DagBag(dag_folder=sys.argv[1])
params = {
    id: {name: dag.params.get_param(name).schema["description_md"] for name in dag.params}
    for id, dag in bag.dags.items()
}
print("RESULT" + json.dumps(params))
"""


def test_a_new_source_is_in_the_form():
    params, _ = result(PROBE, DAGS)
    assert "**ward** (a ward)" in params[dag_ids.TRAINING]["source"]
    assert "**ward**" in params[dag_ids.TRAINING]["query"]


def test_every_dag_takes_its_id_from_the_one_place():
    ids = {value for name, value in vars(dag_ids).items() if name.isupper()}
    files = sorted((ROOT / "dags").rglob("heart_*.py"))
    assert {path.stem for path in files} == ids
    for path in files:
        (decorator,) = [
            one
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
            for one in node.decorator_list
            if isinstance(one, ast.Call) and ast.unparse(one.func) == "dag"
        ]
        (dag_id,) = [one.value for one in decorator.keywords if one.arg == "dag_id"]
        assert ast.unparse(dag_id).startswith("dag_ids.")


def test_no_module_writes_the_id_of_a_dag_again():
    ids = {value for name, value in vars(dag_ids).items() if name.isupper()}
    files = [path for folder in ("include", "dags", "plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = {
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in ids
    }
    assert found == {"dag_ids.py"}
