"""``python -m chunkscale``."""

from chunkscale.cli.main import console

console()
