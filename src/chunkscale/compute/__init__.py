"""What computes the levels of a region: the processor, the GPU, or Dask lazily.

Source boxes come from a function, results are host arrays. Knows plans and kernels;
nothing of outputs or schedulers.
"""
