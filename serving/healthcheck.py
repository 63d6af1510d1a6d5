"""``python -m serving.healthcheck`` exits with 0 if the service answers, else with 1. Standard library only."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 3


def main() -> int:
    """Request ``/healthz`` on this machine and return the exit status."""
    url = f"http://127.0.0.1:{os.environ.get('HEARTLINE_SERVICE_PORT') or 8080}/healthz"
    # a proxy in the environment must not be used for the local machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
