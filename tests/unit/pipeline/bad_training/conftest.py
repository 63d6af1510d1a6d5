"""What the tests of bad training share."""

from collections.abc import Callable
from typing import Any

import pytest

from heartline.storage import splits


@pytest.fixture(scope="module")
def _results() -> dict[str, Any]:
    return {}


@pytest.fixture
def cached(monkeypatch, _results) -> Callable[..., None]:
    """Compute a costly function once in this module for the same training set."""

    def cache(module: Any, name: str, then: Callable[[Any], Any] = lambda result: result) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            key = f"{name} {[len(one) for one in arguments if isinstance(one, splits.LabelledDataset)]}"
            if key not in _results:
                _results[key] = original(*arguments, **named)
            return then(_results[key])

        monkeypatch.setattr(module, name, call)

    return cache
