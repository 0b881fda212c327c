"""Keras layers of our own, which normalize images inside the model. Imports Keras when it is loaded."""
