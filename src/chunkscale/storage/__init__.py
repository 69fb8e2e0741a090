"""Bytes: locations, the stores behind them, and zarr's groups and arrays in those.

zarr-python has hierarchy, metadata and creation, tensorstore the chunk data where it can
open an array. Knows grids and levels; nothing of plans, kernels or Dask.
"""
