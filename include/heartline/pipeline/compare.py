"""The task ``compare``: compares the families on their shared folds."""

from collections.abc import Mapping, Sequence
from typing import Any

from heartline.pipeline import model_comparison


def compare(trained: Sequence[Mapping[str, Any]], prepared: Mapping[str, Any], *, run: str = "") -> dict[str, Any]:
    """Compare the families on their shared folds and say which one is the winner, with the reason.

    Args:
        trained: what ``train`` returned, one entry for each family.
        prepared: what ``preprocess`` returned.
        run: the orchestrator's name for this run.

    Raises:
        NoCandidateError: no family can be served.
        ComparisonError: the families were not evaluated on the same records and folds.
        RegistryError: MLflow cannot be reached.
    """
    return {"trained": [dict(one) for one in trained], **model_comparison.compare(trained, prepared, run=run)}
