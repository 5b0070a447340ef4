"""``python -m hypermeter.cli``: the command line."""

import sys

from hypermeter.cli import main

sys.exit(main())
