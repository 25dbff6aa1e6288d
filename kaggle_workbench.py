"""The entry point of the command ``wb``.

It lies outside the package ``workbench``, because another distribution installs a package of that name: then the
command must be able to say so.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run ``wb``, unless ``import workbench`` gives somebody else's package."""
    try:
        from workbench.cli import main as run
    except (ImportError, AttributeError):
        imported = _imported_from()
        if imported == Path(__file__).with_name("workbench") and not _other_is_installed():
            raise
        sys.exit(
            f"error: the package `workbench` in {imported} is not the one that `wb` belongs to\n"
            "Another project installs a package of this name. "
            "In this environment: `python -m pip uninstall workbench`, then install kaggle-workbench again."
        )
    run()


def _imported_from() -> Path | None:
    module = sys.modules.get("workbench")
    if module is None:
        spec = importlib.util.find_spec("workbench")
        places = list(spec.submodule_search_locations or ()) if spec else []
    else:
        places = list(getattr(module, "__path__", ()))
    return Path(places[0]).resolve() if places else None


def _other_is_installed() -> bool:
    try:
        importlib.metadata.distribution("workbench")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
