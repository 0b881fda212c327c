"""Gate: the evidence for and against a candidate, the decision, its level over a year, its record and explanation.

Moves no alias and publishes nothing: `promotion` does.
"""
