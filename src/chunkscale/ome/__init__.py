"""OME-NGFF metadata: attribute dictionaries in, geometry out, and back.

Read are 0.1 to 0.5, and 0.6 as far as it says the same; written 0.4 and 0.5. Knows no
files, no network and no Dask: attributes come and go as plain dictionaries.
"""
