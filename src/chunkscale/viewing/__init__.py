"""Images in a browser: what it is told of them, and how their voxels get there.

Knows sources and how pictures show them; must not know plans, outputs, what users type.
"""
