"""Make ``python -m sterna`` the same as ``sterna``."""

import sys

if __name__ == "__main__":
    # Inside the guard: a mover started by spawn imports this module again and needs nothing of the command line.
    from sterna.cli.main import main

    sys.exit(main())
