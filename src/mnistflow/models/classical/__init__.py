"""Classical classifiers: parameters of each family that scikit-learn fits. Imports scikit-learn inside methods only."""
