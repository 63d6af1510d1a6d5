"""The task ``train``: evaluates, fits, packs and logs one family; mapped over the families."""

from collections.abc import Mapping
from typing import Any

from heartline.pipeline import candidates


def train(family: str, prepared: Mapping[str, Any], *, run: str = "") -> dict[str, Any]:
    """Evaluate a family on the shared folds, fit it on the training set, and keep and log its bundle.

    Args:
        family: a name in ``training.families.FAMILIES``.
        prepared: what ``preprocess`` returned.
        run: the orchestrator's name for this run; a tag, nothing depends on it.

    Raises:
        ServiceUnavailableError: the service is not installed here, so no bundle can be tested.
        RegistryError: MLflow cannot be reached.
    """
    return candidates.train(family, prepared, run=run)
