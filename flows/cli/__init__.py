"""Command line: one module a group of commands, composed in `app`. May import everything but `serving`."""
