"""Run the command as ``python -m sklearn_sslcluster.cli``."""

import sys

from ._command import main

if __name__ == "__main__":
    sys.exit(main())
