"""Neural networks: parameters and layers of each family that Keras trains. Imports Keras inside methods only."""
