"""``python -m chunkscale``."""

import sys

from chunkscale.cli import main

sys.exit(main())
