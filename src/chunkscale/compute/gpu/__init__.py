"""The GPU as a place to work: finding it, its memory, streams and copies.

A run has one `device.Gpu` per process. Regions borrow a `lanes.Lane` of it between reading
and writing: a stream, and one block of device memory that is never given back, so that
nothing is allocated per region. What is copied lies in pinned host buffers that each thread
uses again.
"""
