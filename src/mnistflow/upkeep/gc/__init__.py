"""`mnistflow gc`: what is old and held by nothing, found and removed. Each module collects one kind of garbage."""
