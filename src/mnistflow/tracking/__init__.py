"""Tracking: runs in MLflow. Imports no other folder."""
