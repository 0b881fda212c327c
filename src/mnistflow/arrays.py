"""Array types: NumPy arrays of any dtype, and model outputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Outputs = NDArray[np.float32]  # of predictions; images of generators are uint8
