"""`python -m stack.processes.exec_process NAME`: become a part of the stack. The supervisor runs this, not a person.

What the part is started with stands in a file, not on a command line: no quoting, and no password in a process list.
Beginning by ending what is left of the same part makes every restart, whoever asks for it, start from nothing.
"""

import json
import os
import pwd
import sys
from pathlib import Path

from stack.processes.env_markers import STACK_VARIABLE, start_file
from stack.processes.orphans import end, of_part


def main(name: str) -> None:
    """Replace this process by part ``name``; does not return."""
    home = Path(os.environ[STACK_VARIABLE])
    start = json.loads(start_file(home, name).read_text())
    end(of_part(home, name))
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
