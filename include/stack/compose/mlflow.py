"""`python -m stack.compose.mlflow OPTIONS`: runs `mlflow server`, and lets browsers reach it at its public address."""

import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from heartline import addresses


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server: MLflow refuses requests for other hosts, and writes from other origins."""
    public = urlsplit(addresses.public(addresses.MLFLOW, environ))
    hosts = [*environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(","), public.netloc]
    return {
        **environ,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(dict.fromkeys(filter(None, hosts))),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{public.scheme}://{public.netloc}",
    }


if __name__ == "__main__":
    os.execvpe("mlflow", ["mlflow", "server", *sys.argv[1:]], environment(os.environ))  # noqa: S606 - no shell
