"""`python -m sublabel.cli`."""

import sys

from sublabel.cli.commands import main

sys.exit(main())
