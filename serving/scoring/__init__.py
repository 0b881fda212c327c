"""Batch scoring: a version applied to millions of rows on all cores, in blocks. Imports `engine` and below."""
