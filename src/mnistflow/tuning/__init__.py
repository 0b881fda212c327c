"""Tuning: the hyperparameter search. Imports `learners`, `workers`, `tracking`, and what these import."""
