"""Moves the alias `production`, for the launcher and for docker compose."""

import getpass
import os

from heartline import addresses
from heartline.registry.production import alias_history, alias_moves
from stack.clients.mlflow import PRODUCTION, STAGING, Registry
from stack.errors import StackError, UsageError, WorkError

CAUTION = "caution"
"""Tag of a version: why its last comparison does not suffice for a run to promote it, or ``NO_CAUTION``."""
NO_CAUTION = "none"


def promote(
    registry: Registry, version: str | None, *, by: str, how: str = alias_history.PROMOTE, force: bool = False
) -> str:
    """Point `production` to a version, by default the one at `staging`, and return the version.

    Args:
        registry: the registered model.
        version: its number, as the user typed it.
        by: the name for the history.
        how: the kind of move for the history.
        force: allow a model trained on the sample to replace one trained on real data.

    Raises:
        StackError: there is no such version, nothing is staged, or it may not replace the version in production.
    """
    # what the user sees at this moment is what the decision is about
    expected = registry.production_and_tags()[0]
    version = version or registry.at(STAGING)
    if version is None:
        raise UsageError(
            "there is no version to promote",
            where=f"alias {STAGING} of {addresses.model()}",
            expected="a version that a training run has staged",
            hint="train, or name a version",
        )
    return _move(registry, registry.named(version), by=by, how=how, force=force, expected=expected)


def warning(registry: Registry, version: str) -> str:
    """Return why the comparison of a version does not suffice for a run to promote it, as a warning; "" if it does.

    Args:
        registry: the registered model.
        version: its number. It is in production by now, so an MLflow that does not answer is no error: no warning then.
    """
    try:
        caution = (registry.version(version) or {}).get(CAUTION, NO_CAUTION)
    except StackError:
        return ""
    if caution == NO_CAUTION:
        return ""
    return f"warning: a run would not have promoted version {version} on its last comparison: {caution}"


def rollback(registry: Registry, *, by: str, force: bool = False) -> str:
    """Point `production` to the version from before the last move, and return the version.

    Args:
        registry: the registered model.
        by: the name for the history.
        force: allow a model trained on the sample to replace one trained on real data.

    Raises:
        StackError: there is no such version, or it may not replace the version in production.
    """
    moved = moves(registry)
    target = alias_history.rollback_target(moved)
    facts = registry.facts(target[0]) if target else None
    if target is None or facts is None or not alias_history.same_version(target, (target[0], facts.source)):
        raise UsageError(
            f"version {target[0]}, which was in production before, was deleted"
            if target
            else "there is no previous version",
            where=f"alias {PRODUCTION} of {addresses.model()}",
            expected="an earlier version in production",
            hint="see the history, and promote a version by its number",
        )
    # undo the last move that was read, and not one that was made since
    return _move(registry, target[0], by=by, how=alias_history.ROLLBACK, force=force, expected=moved[-1].after)


def waits_for_approval(registry: Registry, version: str) -> str:
    """Return why a version needs a person's approval before it goes into production; "" where it needs none.

    Args:
        registry: the registered model.
        version: its number.

    Raises:
        StackError: MLflow does not answer.
    """
    if registry.approval_secret is None:
        return ""
    facts = registry.facts(version) or alias_moves.VersionFacts()
    return alias_moves.unapproved(registry, facts, registry.examine(version))


def _move(registry: Registry, version: str, *, by: str, how: str, force: bool, expected: str) -> str:
    outcome = alias_moves.move(registry, version, by=by, how=how, force=force, expected=expected)
    if outcome.refused:
        wanted, hint = "no other move at the same time", "see the history, then decide again"
        if outcome.forcible:
            wanted = "a version that was trained on real data"
            hint = "name another version, or add --force to replace it nevertheless"
        elif outcome.hint:
            wanted, hint = outcome.expected or "the files that were registered", outcome.hint
        kind = WorkError if outcome.hint else UsageError
        raise kind(outcome.refused, where=f"alias {PRODUCTION} of {addresses.model()}", expected=wanted, hint=hint)
    return version


def moves(registry: Registry) -> list[alias_history.Move]:
    """Return the moves of `production`, oldest first. Records a move that was made in MLflow's UI.

    Raises:
        StackError: MLflow does not answer, or refuses the request.
    """
    return alias_moves.record_external_moves(registry)[1]


def current_user() -> str:
    """Return the name of the calling user for the history, or the user id if it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"
