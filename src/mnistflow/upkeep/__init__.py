"""Upkeep of a checkout over months: `mnistflow doctor`, `gc`, `backup` and `restore`. Only flows import it."""
