"""OME-NGFF metadata: attribute dictionaries in, geometry out, and back.

Read are 0.1 to 0.6, and of the draft 0.9 what it shares with 0.6; written 0.4 to 0.6. Knows no
files, no network and no Dask: attributes come and go as plain dictionaries.
"""
