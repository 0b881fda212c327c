"""`mnistflow gc`: each module finds and removes one kind of garbage, and decides what of that kind is kept."""
