"""`python -m sfs_core.cli`: the same as `sfs`."""

import sys

from sfs_core.cli import main

sys.exit(main())
