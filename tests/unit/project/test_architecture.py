"""The direction of the imports: between the top-level folders, and between the packages in each."""

import re

import pytest

from tests import architecture
from tests.architecture import ALLOWED, BESIDE, DYNAMIC_IMPORTS, FOLDERS, OURS, OUTSIDE, ROOT

# The least number of files that each folder holds: a test that sees fewer does not look where the code is.
LEAST_FILES = {
    "dags": 1,
    "plugins": 2,
    "include/heartline": 55,
    "include/orchestration": 7,
    "include/stack": 40,
    "serving": 45,
}


@pytest.mark.parametrize(("folder", "allowed"), OUTSIDE.items())
def test_top_level_folders_import_each_other_in_one_direction(folder, allowed):
    paths = architecture.files(folder)
    assert len(paths) >= LEAST_FILES[folder]
    top = (ROOT / folder).parent if folder != "dags" else ROOT
    roots = {(one.path, one.module.split(".")[0]) for path in paths for one in architecture.imports(path, top)}
    assert {(path, root) for path, root in roots if root in OURS - allowed} == set()
    computed = {str(path.relative_to(ROOT)) for path in paths if architecture.dynamic_imports(path)}
    assert computed <= set(DYNAMIC_IMPORTS)


@pytest.mark.parametrize("folder", ["include/heartline", "serving"])
def test_the_domain_and_the_service_do_not_import_airflow(folder):
    roots = {
        one.module.split(".")[0]
        for path in architecture.files(folder)
        for one in architecture.imports(path, (ROOT / folder).parent)
    }
    assert "airflow" not in roots
    assert len(roots) > 10


@pytest.mark.parametrize("name", FOLDERS)
def test_packages_import_what_the_table_allows_and_the_table_allows_nothing_else(name):
    found = architecture.arrows(name)
    assert set(found) == set(ALLOWED[name])
    assert {one: found[one] - ALLOWED[name][one] for one in found if found[one] - ALLOWED[name][one]} == {}
    unused = {one: ALLOWED[name][one] - found[one] for one in found if ALLOWED[name][one] - found[one]}
    assert unused == {}, "take these out of ALLOWED in tests/architecture.py"


@pytest.mark.parametrize("name", FOLDERS)
def test_packages_form_no_circle(name):
    graph = {one: set(targets) for one, targets in architecture.arrows(name).items()}
    while free := [one for one, targets in graph.items() if not targets]:
        for one in free:
            del graph[one]
        for targets in graph.values():
            targets.difference_update(free)
    assert graph == {}


@pytest.mark.parametrize("name", FOLDERS)
def test_each_package_says_what_it_is_for_and_what_it_may_import(name):
    for package, allowed in ALLOWED[name].items():
        text = (ROOT / FOLDERS[name] / package / "__init__.py").read_text()
        (docstring,) = re.fullmatch(r'"""(.+)\n"""\n', text, re.DOTALL).groups()  # nothing else: no re-exports
        purpose, _, may = docstring.partition("\n\nMay import: ")
        assert 20 < len(purpose) < 300, package
        assert set(re.findall(r"``(\w+)``", may)) == allowed, package


@pytest.mark.parametrize("name", FOLDERS)
def test_modules_beside_the_packages_import_what_the_table_allows(name):
    found = architecture.beside(name)
    assert "__init__" in found
    assert {one: used for one, used in found.items() if used} == dict(BESIDE[name])


@pytest.mark.parametrize("name", FOLDERS)
def test_no_package_reaches_another_through_a_module_beside_the_packages(name):
    for package, allowed in ALLOWED[name].items():
        used = architecture.imported_beside(name, package)
        reached = {one: BESIDE[name].get(one, set()) - allowed - {package} for one in used}
        assert {one: packages for one, packages in reached.items() if packages} == {}, package


def test_few_modules_are_beside_the_packages():
    beside = {name: architecture.stems(folder) for name, folder in FOLDERS.items()}
    assert all(len(stems) <= 10 for stems in beside.values()), beside


def test_relative_imports_are_seen(tmp_path):
    path = tmp_path / "heartline" / "storage" / "sample.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..reports import tables\nfrom . import object_store\nimport heartline.pipeline.train\n")
    found = {one.module for one in architecture.imports(path, tmp_path)}
    assert found == {
        "heartline.reports",
        "heartline.reports.tables",
        "heartline.storage",
        "heartline.storage.object_store",
        "heartline.pipeline.train",
    }


def test_the_picture_is_current():
    assert architecture.PICTURE.read_text() == architecture.svg(), f"write it anew: {architecture.REFRESH}"


@pytest.mark.parametrize(
    ("kind", "only"),
    [
        (
            r"mlflow(\.|$)",
            {
                "artifact_files.py",
                "completed_runs.py",
                "flavours.py",
                "mlflow_errors.py",
                "mlflow_registry.py",
                "registered_model.py",
                "repair.py",
                "versions.py",
            },
        ),
        # what scikit-learn and skops may change from one release to the next
        (r"sklearn\.(.+\.)?_", {"fast_forest.py"}),
        (r"skops\.(.+\.)?_", {"export.py"}),
    ],
    ids=["MLflow", "scikit-learn's private modules", "skops's private modules"],
)
def test_these_modules_only_import_it(kind, only):
    paths = architecture.files("include/heartline")
    found = {
        path.name
        for path in paths
        if any(re.match(kind, one.module) for one in architecture.imports(path, ROOT / "include"))
    }
    assert found == only
