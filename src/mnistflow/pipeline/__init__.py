"""Pipeline: the DVC stages of one run, from its plan to its record in MLflow. Imports everything but `registry`."""
