"""`python -m stack.processes.exec_process NAME`: the supervisor runs this to start a process of the stack.

Command and environment are read from a file: no shell quoting is needed, and no password shows in a process list.
What an earlier process of the same name left running is ended first, so that every restart starts clean.
"""

import json
import os
import pwd
import sys
from pathlib import Path

from stack.processes.env_markers import STACK_VARIABLE, start_file
from stack.processes.orphans import end, of_process


def main(name: str) -> None:
    """Replace this Python process by process ``name`` of the stack; does not return."""
    home = Path(os.environ[STACK_VARIABLE])
    start = json.loads(start_file(home, name).read_text())
    end(of_process(home, name))
    os.umask(0o077)
    os.chdir(start["folder"])
    if start["user"]:
        account = pwd.getpwnam(start["user"])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.execve(start["command"][0], start["command"], start["environment"])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1])
