"""Runs a child process and shows its progress in one line. Needs only the standard library."""

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

KEPT_LINES = 400


def run(command: Sequence[str], label: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run ``command``; show ``label``, the elapsed seconds and the latest line of its output in one line.

    Returns:
        The exit code and the last ``KEPT_LINES`` lines of the output.
    """
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    terminal = sys.stderr.isatty()
    started = time.monotonic()
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,  # so that it keeps the set-up lock if this process is killed
    ) as process:
        reader = threading.Thread(target=lines.extend, args=(process.stdout or (),), daemon=True)
        reader.start()
        while True:
            try:
                code = process.wait(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                if terminal:
                    latest = lines[-1].strip() if lines else ""
                    _rewrite(f"  {label}: {time.monotonic() - started:.0f} s  {latest}")
        reader.join(timeout=5)
    if terminal:
        _rewrite("")
    outcome = "" if code == 0 else "failed after "
    print(f"  {label}: {outcome}{time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return code, "".join(lines)


def _rewrite(text: str) -> None:
    width = 110
    print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
