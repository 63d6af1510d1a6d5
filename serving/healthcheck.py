"""``python -m serving.healthcheck`` ends with 0 while the service answers, else with 1; standard library only."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 3


def main() -> int:
    """Ask ``/healthz`` on this machine and return the exit status."""
    url = f"http://127.0.0.1:{os.environ.get('HEARTLINE_SERVICE_PORT') or 8080}/healthz"
    # no proxy of the environment stands between a process and its own machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
