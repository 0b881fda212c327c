"""Plots: figures of data sets, trainings and evaluations, as image files. Imports `splits` only."""
