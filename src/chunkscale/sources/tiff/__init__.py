"""TIFF files as sources: OME-TIFF, ImageJ, plain ones, and planes in files of their own.

`files` opens them, `library` is the door of tifffile, `table` knows where the voxels of each page
are, `voxels` reads them, `axes` puts them in order; `ome` and `imagej` read what is said of them.
"""
