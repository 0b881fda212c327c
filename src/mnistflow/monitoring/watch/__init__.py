"""Watch after a promotion: the new champion against the one before it on the same traffic, and the rollback."""
