"""The probe of pytest-istio-mc in one file: modules as text, imported when needed.

- ``program.py`` adds the modules and the call that starts them.
- Standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class Bundle:
    """Finds and loads the modules of one package, which it has as text.

    Each is compiled once, and only when it is imported.
    """

    def __init__(self, package: str, sources: dict[str, str]) -> None:
        self._package = package
        self._sources = {package + "." + name: text for name, text in sources.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python asks of ``sys.meta_path``."""
        if name == self._package or name in self._sources:
            return ModuleSpec(name, self, is_package=name == self._package)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own way of making a module will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's text."""
        text = self._sources.get(module.__name__, "")
        code = compile(text, module.__name__, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - it is how modules are loaded


def install(package: str, sources: dict[str, str]) -> None:
    """Make the modules importable."""
    sys.meta_path.insert(0, Bundle(package, sources))
