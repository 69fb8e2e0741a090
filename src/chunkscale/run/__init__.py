"""Execution: regions on threads, processes and clusters, and what becomes of them.

A worker gets a job and numbers of regions, the driver tiny records. Knows devices, outputs
and Dask; nothing of what users type.
"""
