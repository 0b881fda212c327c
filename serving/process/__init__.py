"""Processes: supervisor of several server processes, and the cores they may use. Imports no other folder."""
