import sys

from vecsim.cli import main

sys.exit(main())
