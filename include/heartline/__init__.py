"""The domain of Heartline: plain Python, one subject per module, no Airflow."""

import os

# Read by libraries when they are imported, so they are set before any of them is.
for _name, _value in {
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # its thread would also hang forked children when they end
    # MLflow's own defaults wait for minutes: a task rather fails soon, and Airflow tries it again
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "TQDM_DISABLE": "1",  # task logs are files: a progress bar in them is noise
}.items():
    os.environ.setdefault(_name, _value)
