"""Looks by frouros: a Kolmogorov-Smirnov test of each column against the reference, at the level of its own examples.

PYTHONPATH=benchmarks python -m detectors.frouros_looks FOLDER
"""

from frouros.detectors.data_drift import KSTest

from detectors import looks

LEVEL = 0.01


def main() -> None:
    """Answer whether each look differs from the reference in any column."""
    known = looks.reference()
    tests = [KSTest() for _ in range(known.shape[1])]
    for column, test in enumerate(tests):
        test.fit(X=known[:, column])

    def found(sample: looks.Floats) -> dict[str, bool]:
        values = [test.compare(X=sample[:, column])[0].p_value for column, test in enumerate(tests)]
        return {"frouros, any column": min(values) <= LEVEL}

    looks.answer(found)


if __name__ == "__main__":
    main()
