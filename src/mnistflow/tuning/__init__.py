"""Tuning: the search for hyperparameters. Imports `learners`, `workers`, `tracking`, and what these import."""
