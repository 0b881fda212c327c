"""Support vector machine (SVM) with an approximated RBF kernel."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mnistflow.models.classical.classical import Classical
from mnistflow.schema import Positive

FOLDS = 3  # of the cross-validation that calibrates probabilities


class Svm(Classical):
    """Linear SVMs, one per class, on a Nyström approximation of the RBF kernel, with calibrated probabilities.

    Input float32 `[batch, n]`, output float32 `[batch, classes]`. The training time of an exact kernel SVM grows with
    the square of the number of examples, and each prediction evaluates the kernel on thousands of support vectors. The
    Nyström map (Williams and Seeger, NIPS 2000) evaluates it on `components` training examples, so that all examples
    can be used for training. Probabilities are sigmoids of the decision values (Platt, 1999), fitted by
    cross-validation.

    Attributes:
        components: number of training examples on which the kernel is evaluated.
        gamma: of the kernel exp(-gamma * squared distance), for pixels in 0 to 1.
        c: inverse strength of the regularization.
        max_iterations: of the solver (Hsieh et al., ICML 2008).
    """

    summary = "Support vector machine (SVM) with an approximated RBF kernel"

    components: Positive = 1000
    gamma: Annotated[float, Field(gt=0)] = 0.02
    c: Annotated[float, Field(gt=0)] = 10.0
    max_iterations: Positive = 200

    def estimator(self, seed: int, threads: int) -> Any:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.kernel_approximation import Nystroem
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

        machine = LinearSVC(C=self.c, max_iter=self.max_iterations, random_state=seed)
        return make_pipeline(
            Nystroem(gamma=self.gamma, n_components=self.components, random_state=seed, n_jobs=threads),
            # One fold after another: the solver's random generator is shared by all threads of a process, so folds
            # side by side would give other sigmoids in each run.
            CalibratedClassifierCV(machine, cv=FOLDS, ensemble=False),
        )

    def count_parameters(self, fitted: Any) -> int:
        kernel, machine = fitted[0], fitted[-1].calibrated_classifiers_[0]
        linear = machine.estimator
        sigmoids = 2 * len(machine.calibrators)
        return int(
            kernel.components_.size + kernel.normalization_.size + linear.coef_.size + linear.intercept_.size + sigmoids
        )
