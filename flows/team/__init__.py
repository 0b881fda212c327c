"""A team's set-up on one machine without containers: stores, trackers, workers, servers. Imports `services`."""
