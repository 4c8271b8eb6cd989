"""``python -m pytest_istio_mc.cli``: the same as ``istio-mc``."""

import sys

from . import main

sys.exit(main())
