"""Names for the numpy arrays that modules pass to each other."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Folds = NDArray[np.int8]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.intp]
