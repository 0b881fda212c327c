"""Looks by evidently: the number of drifted columns, with the defaults that its preset for a table has as well.

PYTHONPATH=benchmarks python -m detectors.evidently_looks FOLDER
"""

import warnings

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import DriftedColumnsCount

from detectors import looks

HALF = 0.5  # of the columns, from which a table has drifted


def main() -> None:
    """Answer whether the table of each look, or any column of it, has drifted."""
    warnings.simplefilter("ignore")  # correlations of constant columns, which are not asked for
    names = [f"column {number}" for number in range(looks.reference().shape[1])]
    definition = DataDefinition(numerical_columns=names)

    def table(values: looks.Floats) -> Dataset:
        return Dataset.from_pandas(pd.DataFrame(values, columns=names), data_definition=definition)

    known, report = table(looks.reference()), Report([DriftedColumnsCount()])

    def found(sample: looks.Floats) -> dict[str, bool]:
        (metric,) = report.run(table(sample), known).dict()["metrics"]
        drifted = metric["value"]
        return {
            "evidently, half of the columns": drifted["share"] >= HALF,
            "evidently, any column": drifted["count"] > 0,
        }

    looks.answer(found)


if __name__ == "__main__":
    main()
