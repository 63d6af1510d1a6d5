"""`python -m stack`: what the launcher starts once the virtual environment stands."""

import sys

from stack.commands.cli import main

sys.exit(main())
