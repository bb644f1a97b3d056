"""What happens on ``python -m mainstay``? The same as on ``mainstay``."""

import sys

from mainstay.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
