"""Buckets of object stores: the store, access to them, and how zarr-python opens them.

obstore enters here alone.
"""
