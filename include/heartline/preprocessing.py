"""What happens to a record before a model sees it: imputation and encoding, as the first steps of each pipeline.

They are fitted inside the pipeline and therefore inside each training fold, so nothing of a test record leaks. The
column groups and the categories come from the contract.
"""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from heartline import contract


def preprocessor(*, scale: bool) -> ColumnTransformer:
    """Return the unfitted step that turns (n, 13) raw features into the model's inputs.

    Args:
        scale: whether ordered numbers are standardised. A linear model needs it; a forest must not have it, because in
            the float32 of the ONNX export rounded values would fall on the other side of a split.
    """
    ordered: list[tuple[str, object]] = [("impute", SimpleImputer(strategy="median"))]
    if scale:
        ordered.append(("scale", StandardScaler()))
    categories = [np.array(list(column.codes), "float64") for column in contract.FEATURES if column.kind == "code"]
    codes = [
        ("impute", SimpleImputer(strategy="most_frequent")),
        ("encode", OneHotEncoder(categories=categories, handle_unknown="error", sparse_output=False)),
    ]
    return ColumnTransformer(
        [
            ("numbers", Pipeline(ordered), _positions(contract.NUMERIC)),
            ("codes", Pipeline(codes), _positions(contract.CATEGORICAL)),
        ]
    )


def _positions(names: tuple[str, ...]) -> list[int]:
    return [contract.FEATURE_NAMES.index(name) for name in names]
