"""Trading volume of a share: a real daily series that comes with Matplotlib."""

from pathlib import Path

import numpy as np

from mnistflow.data.sources import windows

WINDOW = 20  # days of trading: four weeks


def write_series(folder: Path) -> tuple[Path, ...]:
    """Write standardized windows of the logarithm of the volume, float32 `[n, 20, 1]`, and return the paths.

    The source is `goog.npz` of Matplotlib's sample data: shares of Google traded on each of the 1,047 days from its
    first, 2004-08-19, to 2008-10-14, as published by Yahoo Finance.
    """
    from matplotlib import cbook

    with np.load(cbook.get_sample_data("goog.npz", asfileobj=False)) as archive:
        volume = archive["price_data"]["volume"]
    return windows.write_series(folder, np.log(volume), WINDOW)
