"""Generation: new images of a class, and how they are scored. Imports `runtime`."""
