"""Augmentation of training images, on batches of TensorFlow. Imports the configuration only."""
