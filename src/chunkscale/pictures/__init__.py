"""Pictures: what is read for the pixels of a figure, how they are coloured, and where they stand.

Everything but `drawing` is numbers and plain arrays, and works without Matplotlib, which
`drawing` alone knows. Knows sources; nothing of plans, outputs or what users type.
"""
