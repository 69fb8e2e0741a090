"""The public verbs, and all their defaults.

Users' parameters become values here, and go down from here. Knows everything but the
command line.
"""
