"""Command line: one module per group of commands, composed in `app`. Imports everything but `serving`."""
