"""Small profiles, records to take from, and a pair of families that were trained on some."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from heartline.ingestion import synthetic
from heartline.pipeline.train import train
from heartline.storage import splits
from heartline.training import families
from tests.unit.pipeline.bad_training.support import FOREST, LINEAR, leave_out, prepare, taken


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A profile of few folds and trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.PROFILES, "test", families.Profile("test", splits=4, repeats=2, trees=20))
        yield


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    """Five thousand records, of which as many of each kind are taken as a test needs."""
    return synthetic.generate(5000)


@pytest.fixture
def unasked(monkeypatch) -> None:
    """Train without the service and without pictures."""
    leave_out(monkeypatch)


@pytest.fixture(scope="module")
def pair(module_store, mlflow_store, many) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was prepared, and both families trained on it."""
    prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=4)
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        return prepared, [train(family, prepared) for family in (LINEAR, FOREST)]


@pytest.fixture(scope="module")
def _results() -> dict[str, Any]:
    return {}


@pytest.fixture
def cached(monkeypatch, _results) -> Callable[..., None]:
    """Let a costly function be computed once in this module, for the same training set."""

    def cache(module: Any, name: str, then: Callable[[Any], Any] = lambda result: result) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            key = f"{name} {[len(one) for one in arguments if isinstance(one, splits.LabelledDataset)]}"
            if key not in _results:
                _results[key] = original(*arguments, **named)
            return then(_results[key])

        monkeypatch.setattr(module, name, call)

    return cache
