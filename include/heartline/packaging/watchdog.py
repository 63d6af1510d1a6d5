"""``python watchdog.py PROGRAM …``: run a program until it ends, or until the standard input of this one does.

Whoever holds the other end of that input need not live long enough to clean up: when it is killed, the system closes
its end too. Standard library only, so that any Python can run it. It must lead a process group of its own, which ends
as a whole.
"""

import os
import signal
import subprocess
import sys
import threading

PATIENCE = 2.0  # seconds that the program gets to end its own children


def main(command: list[str]) -> int:
    """Run ``command`` and return its exit code, which is 128 and the signal's number where a signal ended it."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    threading.Thread(target=_end_with_input, args=(program,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _end_with_input(program: "subprocess.Popen[bytes]") -> None:
    os.read(0, 1)  # not sys.stdin, whose lock this thread would hold while the interpreter shuts down
    program.send_signal(signal.SIGINT)
    try:
        program.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
