"""How the processes of a stack are marked, and where it stands what they are started with."""

from pathlib import Path

# Every process of a stack carries these in its environment. They are set for nothing else, not even by the user.
STACK_VARIABLE = "HEARTLINE_STACK"  # the state folder, absolute
PART_VARIABLE = "HEARTLINE_PART"
DIGEST_VARIABLE = "HEARTLINE_PART_DIGEST"

SUPERVISOR = "supervisord"


def start_file(home: Path, name: str) -> Path:
    """Return the path of the file that says how part ``name`` is started."""
    return home / "run" / f"{name}.json"
