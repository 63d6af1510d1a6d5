"""`python -m stack`: the command line, which the launcher starts inside the virtual environment."""

import sys

from stack.commands.cli import main

sys.exit(main())
