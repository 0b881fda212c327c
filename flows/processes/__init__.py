"""Processes: supervised services, and the guard that ends them with their parent. Imports `mnistflow`."""
