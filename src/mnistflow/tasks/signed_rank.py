"""Wilcoxon signed-rank test (Wilcoxon 1945) of a candidate's errors against a champion's."""

from __future__ import annotations

import numpy as np

from mnistflow.arrays import Array
from mnistflow.tasks.task import PairedTest


def signed_rank_test(name: str, candidate: Array, champion: Array) -> PairedTest:
    """Test whether paired errors differ; equal pairs are dropped.

    Args:
        name: of the test, as reports show it.
        candidate: errors of the candidate, `[n]`; smaller ones are better.
        champion: errors of the champion for the same examples, `[n]`.
    """
    from scipy.stats import rankdata, wilcoxon

    improvements = (champion - candidate)[champion != candidate]
    ranks = rankdata(np.abs(improvements))
    won, lost = improvements > 0, improvements < 0
    return PairedTest(
        name,
        int(won.sum()),
        int(lost.sum()),
        float(wilcoxon(improvements).pvalue) if len(improvements) else 1.0,
        favours_candidate=bool(ranks[won].sum() > ranks[lost].sum()),
    )
