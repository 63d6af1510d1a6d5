"""The settings of approvals."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from heartline.registry.production import approvals

APPROVERS, DAYS, FOUR_EYES = "HEARTLINE_APPROVERS", "HEARTLINE_APPROVAL_DAYS", "HEARTLINE_FOUR_EYES"
DEFAULT_DAYS = 3.0


@dataclass(frozen=True)
class Settings:
    """How versions are approved.

    Attributes:
        approvers: the users who may answer; () for everybody who may answer in Airflow.
        wait: how long a request waits for an answer.
        four_eyes: whether the one who triggered the training or asked for the approval may not approve.
        required: whether ``production`` moves only to approved versions.
        secret: with which approvals are signed; "" without one.
    """

    approvers: tuple[str, ...] = ()
    wait: timedelta = timedelta(days=DEFAULT_DAYS)
    four_eyes: bool = False
    required: bool = False
    secret: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; ``stack.setting_checks`` has refused wrong ones before the stack was started."""
        named = (name.strip() for name in environ.get(APPROVERS, "").split(","))
        return cls(
            approvers=tuple(dict.fromkeys(name for name in named if name)),
            wait=timedelta(days=float(environ.get(DAYS) or DEFAULT_DAYS)),
            four_eyes=environ.get(FOUR_EYES, "") == "yes",
            required=approvals.required(environ),
            secret=environ.get(approvals.SECRET, ""),
        )
