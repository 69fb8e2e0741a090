"""The machine and this process: memory, the allocator, who lives.

Knows nothing of images, stores or plans. psutil enters here.
"""
