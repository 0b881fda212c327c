"""Fitting of Keras models: the training loop and its parts. Imports `augmentation` and the configuration."""
