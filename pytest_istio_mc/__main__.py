"""``python -m pytest_istio_mc``: the same as ``istio-mc``."""

import sys

from .cli import main

sys.exit(main())
