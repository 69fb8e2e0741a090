"""``python -m chunkscale``."""

from chunkscale.cli import console

console()
