"""Data sets: where they come from, what they hold, how they are checked and split."""
