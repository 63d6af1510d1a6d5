"""`heartline init`: the secrets of the docker compose stack. Needs no package, so that a server needs no set-up."""

from pathlib import Path

from stack.secrets.credentials import SHARED, generate, write_private

ENV_FILE = ".env"

HEADER = "# Made by ./heartline init. Keep this file: the database volume knows these passwords.\n"


def read_env(path: Path) -> dict[str, str]:
    """Return the variables of a compose ``.env`` file; empty when there is none."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def init(root: Path) -> list[str]:
    """Add the secrets that ``.env`` has not yet.

    Args:
        root: the folder with ``docker-compose.yaml``.

    Returns:
        The variables that were generated; empty when all were there. What is there is never changed.

    Raises:
        OSError: a file cannot be written.
    """
    env_file = root / ENV_FILE
    known = read_env(env_file)
    new = {name.upper(): generate(name) for name in SHARED if not known.get(name.upper())}
    if new:
        before = env_file.read_text() if env_file.exists() else HEADER
        if not before.endswith("\n"):
            before += "\n"
        write_private(env_file, before + "".join(f"{name}={value}\n" for name, value in new.items()))
    return list(new)


def summary(generated: list[str]) -> str:
    """Return what to tell the user after ``init``."""
    told = f"generated {', '.join(generated)}" if generated else "every secret was there already, nothing changed"
    return f"{ENV_FILE} (mode 0600): {told}\nnow: docker compose up --wait"
