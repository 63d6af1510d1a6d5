"""Moving `production`, by a name, and showing who moved it: for the commands here and for those of docker compose."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from heartline.registry import alias_history
from stack.clients.mlflow import PRODUCTION, STAGING, Registry
from stack.errors import UsageError


def promote(
    registry: Registry, version: str | None, *, by: str, how: str = alias_history.PROMOTE, force: bool = False
) -> str:
    """Point `production` at a version, by default the one at `staging`, and return the version.

    Args:
        registry: the registered model.
        version: its number, as it was typed.
        by: who moves it.
        how: what the history says of it.
        force: let a model of the sample replace one of real data.

    Raises:
        StackError: there is no such version, nothing is staged, or it may not replace what is in production.
    """
    version = version or registry.at(STAGING)
    if version is None:
        raise UsageError(
            "there is no version to promote",
            where=f"alias {STAGING} in {registry.url}",
            expected="a version that a training run has staged",
            hint="train, or name a version",
        )
    return _move(registry, registry.named(version), by=by, how=how, force=force)


def rollback(registry: Registry, *, by: str, force: bool = False) -> str:
    """Point `production` at the version that it was at before the last move, and return the version.

    Args:
        registry: the registered model.
        by: who moves it.
        force: let a model of the sample replace one of real data.

    Raises:
        StackError: there is no such version, or it may not replace what is in production.
    """
    moved = moves(registry)
    version = alias_history.rollback_target(moved)
    if version is None or registry.version(version) is None:
        raise UsageError(
            f"version {version}, which was in production before, was deleted"
            if version
            else "there is nothing to go back to",
            where=f"alias {PRODUCTION} in {registry.url}",
            expected="an earlier version in production",
            hint="look at the history, and promote a version by its number",
        )
    # the move to undo is the last one that was looked at, not one that came since
    return _move(registry, version, by=by, how=alias_history.ROLLBACK, force=force, expected=moved[-1].after)


def _move(registry: Registry, version: str, *, by: str, how: str, force: bool, expected: str | None = None) -> str:
    now = datetime.now(UTC)
    outcome = alias_history.move(registry, version, by=by, how=how, now=now, force=force, expected=expected)
    if outcome.refused:
        wanted, hint = "nobody else who moves it at the same time", "look at the history, and decide anew"
        if outcome.forcible:
            wanted = "a version that was trained on real data"
            hint = "name another version, or add --force where this is meant"
        raise UsageError(outcome.refused, where=f"alias {PRODUCTION} in {registry.url}", expected=wanted, hint=hint)
    return version


def moves(registry: Registry) -> list[alias_history.Move]:
    """Return the moves of `production`, oldest first; one that was made in MLflow's UI is noted.

    Raises:
        StackError: MLflow does not answer, or refuses.
    """
    return alias_history.record_external_moves(registry, datetime.now(UTC))[1]


def table(moved: Iterable[alias_history.Move]) -> Table:
    """Return moves of `production` as a table."""
    grid = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("when (UTC)", "from", "to", "by", "how"):
        grid.add_column(heading, justify="right" if heading in ("from", "to") else "left")
    for one in moved:
        how = f"{one.how}, forced" if one.forced else one.how
        grid.add_row(f"{one.when:%Y-%m-%d %H:%M:%S}", one.before or "-", one.after or "-", escape(one.by), escape(how))
    return grid
