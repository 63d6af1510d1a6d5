"""The candidate in the shadow: what it answers to the records that production has answered, from its own bundle."""

import numpy as np

from heartline import contract
from heartline.monitoring.inputs import Floats
from heartline.registry import versions
from heartline.scoring.model import ScoringModel


class Candidate:
    """A version whose answers nobody gets.

    Args:
        model: its verified model.
    """

    def __init__(self, model: ScoringModel) -> None:
        self._model = model
        self.version = model.about.version
        self.digest = model.about.digest

    @classmethod
    def fetch(cls, version: str) -> "Candidate":
        """Return a registered version, whether or not it is approved: nothing is served by it.

        Raises:
            ParameterError: there is no such version.
            RegistryRefusedError: its files are gone, damaged, or cannot be loaded.
            RegistryError: MLflow cannot be reached.
        """
        found = versions.fetch(version, approved=False)
        return cls(ScoringModel(found.files, found.version))

    def answers(self, features: Floats) -> Floats:
        """Return its probabilities (n,) for records (n, features) in the order of the contract, NaN for missing.

        A field that its own contract has and this one has not counts as missing.

        Raises:
            RegistryRefusedError: it returns a value that is not a probability.
        """
        matrix = np.full((len(features), len(self._model.contract.features)), np.nan, np.float32)
        for position, name in enumerate(self._model.contract.features):
            if name in contract.FEATURE_NAMES:
                matrix[:, position] = features[:, contract.FEATURE_NAMES.index(name)]
        if not len(matrix):
            return np.empty(0)
        found: Floats = self._model.probabilities(matrix).astype(np.float64)
        return found
