"""Feedback: labels that users report for served images, their review, and which of them become training examples."""
