"""Where voxels lie: boxes, grids, units, mappings, methods and pyramids.

Pure numbers, computed in float64 from global indices. Knows no files, no arrays of
voxels, and nobody who uses it.
"""
