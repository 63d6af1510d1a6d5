"""The environment variables of the stack's processes: few are inherited, so that the caller's shell cannot break them.

Settings of other Airflow, MLflow, PostgreSQL, gunicorn or Python installations are not among them, and neither are
proxies: the processes only talk to each other. Downloads of records are the exception; see ``download_settings``.
"""

import json
import os

from heartline.ingestion.access import proxies
from stack.settings import HOST

_INHERITED = ("HOME", "TMPDIR", "TZ", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOADER_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# Certificates of a company, for downloads. SSL_CERT_FILE is not among them: httpx, with which a task talks to Airflow,
# fails at once if it names a file that does not exist.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_FIXED = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "NO_PROXY": f"{HOST},localhost",  # on macOS, proxies can come from the system's settings
    "no_proxy": f"{HOST},localhost",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONSAFEPATH": "1",
    "SPT_NOENV": "1",  # setproctitle would overwrite the environment, which holds the markers of orphans
}


def base_environment() -> dict[str, str]:
    """Return the environment that every process of the stack gets."""
    return _given(_INHERITED) | _FIXED


def loader_paths() -> dict[str, str]:
    """Return the variables without which some builds of Python do not start.

    PostgreSQL does not get them: it would load another version of its own libraries.
    """
    return _given(_LOADER_PATHS)


def download_settings() -> dict[str, str]:
    """Return the caller's proxies and certificates, as the tasks that download records get them."""
    found = proxies.of_environment(os.environ)
    return _given(_CERTIFICATES) | ({proxies.VARIABLE: json.dumps(found, sort_keys=True)} if found else {})


def _given(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if os.environ.get(name)}
