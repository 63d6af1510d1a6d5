"""The fast equivalent of scikit-learn's random forest: it calls scikit-learn's tree builder directly.

At a few hundred records a tree takes a sixth of a millisecond. ``RandomForestClassifier`` takes seven times as long:
for each tree it creates, validates and clones an estimator, and creates a random generator that it then seeds again.
The trees are the same to the last bit.

The builder is not part of scikit-learn's public interface. No other module uses it, and ``cross_validation`` compares
the forest's predictions with those of ``RandomForestClassifier`` before it uses them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from heartline.arrays import Floats, Ints

# supported hyperparameters
KNOWN = ("n_estimators", "min_samples_leaf", "max_leaf_nodes", "max_samples", "random_state", "n_jobs")
THREADS_FROM = 5_000  # records: with fewer, a tree is grown before a second thread starts

_MAX_SEED = np.iinfo(np.int32).max
_MAX_DEPTH = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree of a forest.

    Attributes:
        grown: scikit-learn's low-level tree.
        seed: of its sample and its splits.
    """

    grown: Any
    seed: int

    def predict_proba(self, inputs: NDArray[np.floating]) -> Floats:
        """Return the shares of negatives and positives in the leaf of each of (m, p) inputs: (m, 2)."""
        shares: Floats = self.grown.predict(np.ascontiguousarray(inputs, dtype=np.float32))
        return shares


class Forest(RandomForestClassifier):  # type: ignore[misc]  # scikit-learn has no types
    """The forest of ``RandomForestClassifier``, for labels 0 and 1 and the hyperparameters in ``KNOWN``."""

    def fit(self, inputs: Floats, labels: Ints) -> Self:
        """Grow the trees.

        Args:
            inputs: (n, p) without missing values.
            labels: (n,) 0 or 1, both of them present.

        Raises:
            ValueError: an unsupported hyperparameter is set, or a class is missing.
        """
        return self._fit(inputs, labels, {})

    def resume(self, model: "Forest", inputs: Floats, labels: Ints) -> "Forest":
        """Fit ``model`` to the records that this smaller forest was fitted to, and keep this forest's trees.

        The seeds of a smaller forest are the first ones of a larger one, so that the trees are the same.

        Args:
            model: unfitted, with the hyperparameters of this one but another number of trees.
            inputs: (n, p) as for ``fit``.
            labels: (n,) as for ``fit``.

        Raises:
            ValueError: as ``fit``.
        """
        grown = {} if model.max_samples else {tree.seed: tree for tree in self.estimators_}
        return model._fit(inputs, labels, grown)

    def _fit(self, inputs: Floats, labels: Ints, grown: dict[int, Tree]) -> Self:
        self._check(labels)
        self._rows = len(inputs)
        features = np.ascontiguousarray(inputs, dtype=np.float32)
        classes = np.ascontiguousarray(labels.reshape(-1, 1), dtype=np.float64)
        self.classes_ = np.array([0, 1])
        seeds = np.asarray(np.random.RandomState(self.random_state).randint(_MAX_SEED, size=self.n_estimators)).tolist()
        threads = joblib.cpu_count() if len(inputs) >= THREADS_FROM else 1
        missing = [seed for seed in seeds if seed not in grown]
        with ThreadPoolExecutor(threads) as pool:
            batches = pool.map(lambda batch: self._grow(batch, features, classes), _batches(missing, threads))
            grown = grown | {tree.seed: tree for batch in batches for tree in batch}
        self.estimators_ = [grown[seed] for seed in seeds]
        return self

    def predict_proba(self, inputs: Floats) -> Floats:
        """Return the mean of the trees' predictions for (m, p) inputs: (m, 2)."""
        features = np.ascontiguousarray(inputs, dtype=np.float32)
        predictions = np.zeros((len(features), 2))
        for tree in self.estimators_:
            predictions += tree.predict_proba(features)
        predictions /= len(self.estimators_)
        return predictions

    @property
    def estimators_samples_(self) -> list[NDArray[np.int32]]:
        """The (n,) positions of the records drawn for each tree."""
        random = np.random.RandomState(0)
        return [self._drawn(random, tree.seed) for tree in self.estimators_]

    def _check(self, labels: Ints) -> None:
        default = RandomForestClassifier().get_params()
        unknown = {name for name, value in self.get_params().items() if name not in KNOWN and value != default[name]}
        if unknown:
            raise ValueError(f"cannot grow a forest with {', '.join(sorted(unknown))}")
        if len(np.unique(labels)) != 2:
            raise ValueError("cannot grow a forest from one class")

    def _drawn(self, random: np.random.RandomState, seed: int) -> NDArray[np.int32]:
        """Return a tree's sample as ``RandomForestClassifier`` draws it; ``random`` gets the tree's seed."""
        random.seed(seed)
        return random.randint(0, self._rows, self.max_samples or self._rows, dtype=np.int64).astype(np.int32)

    def _grow(self, seeds: list[int], features: NDArray[np.float32], classes: Floats) -> list[Tree]:
        from sklearn.tree import _criterion, _splitter, _tree

        random = np.random.RandomState(0)
        count, sizes, leaf = features.shape[1], np.array([2], dtype=np.intp), int(self.min_samples_leaf)
        max_features, grown = max(1, int(np.sqrt(count))), []
        # Each build starts the splitter anew, with the state that ``random`` has then.
        splitter = _splitter.BestSplitter(_criterion.Gini(1, sizes), max_features, leaf, 0.0, random, None)
        limits = (splitter, max(2, 2 * leaf), leaf, 0.0, _MAX_DEPTH)
        if self.max_leaf_nodes is None:
            builder = _tree.DepthFirstTreeBuilder(*limits, 0.0)
        else:
            builder = _tree.BestFirstTreeBuilder(*limits, self.max_leaf_nodes, 0.0)
        for seed in seeds:
            weights = np.bincount(self._drawn(random, seed), minlength=self._rows).astype(np.float64)
            random.seed(seed)
            tree = _tree.Tree(count, sizes, 1)
            builder.build(tree, features, classes, weights, None)
            grown.append(Tree(tree, seed))
        return grown


def _batches(seeds: list[int], threads: int) -> Iterator[list[int]]:
    """Yield the seeds that a thread takes at a time: all of them for one thread, else one tree's."""
    size = 1 if threads > 1 else max(1, len(seeds))
    return (seeds[at : at + size] for at in range(0, len(seeds), size))
