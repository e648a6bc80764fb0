"""What `python -m vecsim` runs."""

import sys

from vecsim.cli import main

sys.exit(main())
