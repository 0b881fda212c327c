"""Model repository: the folder that servers read, written from the registry and kept equal to it.

Moves no alias: `promotion` does, and imports this package.
"""
