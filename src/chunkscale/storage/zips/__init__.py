"""Zip files: their directories, reading entries in place, and packing folders into them.

It knows bytes, names and sizes; nothing of zarr but what a store is asked for.
"""
