"""The domain of Heartline: plain Python without Airflow, one subject per module."""

import os

# Libraries read these when they are imported, so they are set before any import.
for _name, _value in {
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # its thread would also block forked children at exit
    # MLflow's defaults wait for minutes; a task should fail early, and Airflow retries it
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it prints the internal address; log_run logs the public one
    "TQDM_DISABLE": "1",  # task logs are files, where a progress bar is noise
}.items():
    os.environ.setdefault(_name, _value)
