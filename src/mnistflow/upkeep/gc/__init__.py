"""`mnistflow gc`: finds and removes old, unreferenced objects. Each module collects one kind of garbage."""
