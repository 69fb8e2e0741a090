"""The numeric kernels: interpolation, means and modes of blocks, bit for bit alike.

`reference` defines them in plain NumPy; `cpu` and `cuda` are the fast ones, behind
`backend.Backend`. Kernels know arrays and tables; nothing of OME, Dask or paths.
"""
