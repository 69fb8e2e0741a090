"""Checking what is stored: images, their labels, and collections of them.

Reads and recomputes as any other program could; knows nothing of runs.
"""
