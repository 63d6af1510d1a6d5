"""Passwords and signing keys: generated on first use, stored in files that only their owner can read."""

import base64
import os
import secrets
from pathlib import Path

from stack.errors import UnhealthyError
from stack.settings import APPROVER, USER

# Files of these names below HEARTLINE_HOME/secrets; upper-case variables in the .env file of docker compose.
SHARED = (
    "postgres_password",
    "airflow_db_password",
    "mlflow_db_password",
    "heartline_db_password",
    "predictions_db_password",
    "predictions_reader_db_password",
    "monitoring_db_password",
    "ledger_db_password",
    "ledger_service_db_password",
    "airflow_admin_password",
    "airflow_approver_password",
    "airflow_fernet_key",
    "airflow_api_secret_key",
    "airflow_jwt_secret",
    "patient_secret",
    "approval_secret",
)
LOCAL = (*SHARED, "supervisor_password")


def generate(name: str) -> str:
    """Return a new random secret that is safe in URLs, shells and YAML; a Fernet key if the name ends so."""
    if name.endswith("fernet_key"):
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    return secrets.token_hex(32)  # 64 characters: Airflow signs with SHA-512, which needs a key of 64 bytes


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically: it is complete or absent, also after a power failure."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Credentials:
    """The local stack's secrets, by name."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "secrets"

    def __getitem__(self, name: str) -> str:
        """Return a secret; generates it on first use.

        Raises:
            UnhealthyError: there is no state folder, or the secret's file is empty.
        """
        if name not in LOCAL:
            raise KeyError(name)
        path = self.folder / name
        if not path.exists():
            if not self.folder.parent.exists():
                raise UnhealthyError(
                    "this stack was never started",
                    where=str(self.folder.parent),
                    expected="the state folder that ./heartline up makes",
                    hint="./heartline up",
                )
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_private(path, generate(name) + "\n")
        secret = path.read_text().strip()
        if not secret:
            raise UnhealthyError(
                "the file of a secret is empty",
                where=str(path),
                expected="the secret with which the databases of this stack were created",
                hint="restore the file from a backup; a new secret would not open the databases",
            )
        return secret


def logins(credentials: Credentials) -> dict[str, str]:
    """Return the users of Airflow's SimpleAuthManager with their passwords."""
    return {USER: credentials["airflow_admin_password"], APPROVER: credentials["airflow_approver_password"]}
