"""Processes: the supervisor of several workers, and the number of usable cores. Imports no other folder."""
