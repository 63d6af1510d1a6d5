"""What a task's log shows: our errors without stack frames, others with them, and no chatter of libraries."""

from stack.processes import definitions
from tests.conftest import ROOT
from tests.dags.airflow_process import result

PROBE = """
import json, logging, sys
import airflow_local_settings
import structlog
from heartline.errors import DataError, RegistryError

render = structlog.tracebacks.ExceptionDictTransformer(use_rich=False, show_locals=False)

def rendered(error, cause=None):
    try:
        try:
            if cause:
                raise cause
        except Exception as inner:
            raise error from inner
        raise error
    except Exception:
        return render(sys.exc_info())

parts = dict(where="where", expected="expected", hint="hint")
print("RESULT" + json.dumps({
    "refused": rendered(DataError("refused", **parts), KeyError("cause")),
    "away": rendered(RegistryError("away", **parts)),
    "defect": rendered(TypeError("defect"), KeyError("cause")),
    "levels": {name: logging.getLogger(name).getEffectiveLevel() for name in ("great_expectations.x", "mlflow.y")},
}))
"""


def test_our_errors_have_no_stack_frames_and_defects_keep_theirs():
    found, _ = result(PROBE, path=(ROOT / "include" / "stack" / "airflow_config",))
    for name in ("refused", "away"):
        (shown,) = found[name]
        assert shown["frames"] == []
        assert shown["exc_value"].startswith(f"{name}\n  where:")
    assert len(found["defect"]) == 2
    assert all(one["frames"] for one in found["defect"])
    assert set(found["levels"].values()) == {30}


def test_compose_has_the_levels_of_the_local_stack():
    compose = (ROOT / "docker-compose.yaml").read_text()
    assert f"AIRFLOW__LOGGING__NAMESPACE_LEVELS: {definitions.LOG_LEVELS}\n" in compose
    assert 'MLFLOW_CONFIGURE_LOGGING: "false"' in compose
