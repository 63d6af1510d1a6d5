"""``python watchdog.py PROGRAM …``: run a program until it ends, or until standard input is closed.

The operating system closes standard input also when the parent process is killed, so no program outlives its parent.
Standard library only, so that any Python can run it. The watchdog must lead its own process group, which it kills.
"""

import os
import signal
import subprocess
import sys
import threading

SHUTDOWN_TIMEOUT = 2.0  # seconds from SIGINT to the program until SIGKILL to the process group


def main(command: list[str]) -> int:
    """Run ``command`` and return its exit code; 128 plus the signal's number if a signal ended it."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    threading.Thread(target=_end_with_input, args=(program,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _end_with_input(program: "subprocess.Popen[bytes]") -> None:
    os.read(0, 1)  # not sys.stdin: this thread would hold its lock while the interpreter shuts down
    program.send_signal(signal.SIGINT)
    try:
        program.wait(SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
