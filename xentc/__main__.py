"""`python -m xentc` is the command `xentc`."""

import sys

from xentc.command_line import main

if __name__ == "__main__":
    sys.exit(main())
