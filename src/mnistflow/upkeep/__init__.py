"""Upkeep of a checkout over months: what is removed, and what never is. Only flows import it."""
