"""Support vector machine with an approximated RBF kernel."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mnistflow.models.classical import Classical
from mnistflow.schema import Positive

FOLDS = 3  # whose decision values the probabilities are calibrated on


class Svm(Classical):
    """Linear SVMs, one a class, on the features of a Nyström map of the RBF kernel; calibrated probabilities.

    Input float32 `[batch, n]`, output float32 `[batch, classes]`. An exact kernel machine takes time that grows with
    the square of the images, and computes the kernel with thousands of support vectors for each prediction. The map
    (Williams and Seeger, NIPS 2000) compares with `components` images drawn from the training split instead, so it
    learns from all. Decision values become probabilities by Platt's sigmoids (Platt, 1999), fitted across folds.

    Attributes:
        components: images that every image is compared with.
        gamma: of the kernel exp(-gamma * squared distance), with pixels between 0 and 1.
        c: inverse strength of the regularization.
        max_iterations: of the solver (Hsieh et al., ICML 2008).
    """

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
            CalibratedClassifierCV(machine, cv=FOLDS, ensemble=False, n_jobs=threads),
        )

    def count(self, fitted: Any) -> int:
        kernel, machine = fitted[0], fitted[-1].calibrated_classifiers_[0]
        linear = machine.estimator
        sigmoids = 2 * len(machine.calibrators)
        return int(
            kernel.components_.size + kernel.normalization_.size + linear.coef_.size + linear.intercept_.size + sigmoids
        )
