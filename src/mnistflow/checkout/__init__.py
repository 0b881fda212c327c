"""The checkout: what runs from it, what its stages have left, its place, and its code. Imports `paths` and `files`."""
