"""`python -m kdjax COMMAND`."""

import sys

from kdjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
