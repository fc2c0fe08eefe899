"""Loads the services as they are loaded in their containers: from /app, with /opt/shop beside it."""

import importlib.util
import sys
from pathlib import Path

BUNDLES = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(BUNDLES / "python"))


def load(bundle, module="service"):
    """A module of a bundle's app, under a name of its own: every bundle has a `service`."""
    app = BUNDLES / bundle / "app"
    if str(app) not in sys.path:
        sys.path.insert(0, str(app))
    if module != "service":
        return importlib.import_module(module)
    name = f"{bundle}.{module}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, app / f"{module}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
