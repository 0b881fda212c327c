"""Workers: processes of this machine and of a Dask cluster that run jobs. Imports `runtime` only."""
