"""What can be read: images and collections of images.

Opens what a path holds, lazily, with its grid. Knows storage and NGFF; nothing of plans,
devices or outputs.
"""
