"""What will be done, before anything is: regions, memory, the choice among them.

A plan is a value; `planner.make_plan` makes it. Knows geometry and bytes; nothing of zarr,
Dask or devices.
"""
