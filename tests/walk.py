"""What the package defines, found by importing all of it: new files are tested without being listed anywhere."""

import importlib
import inspect
import pkgutil


def modules(package):
    """Every module under the package called `package`."""
    root = importlib.import_module(package)
    return [importlib.import_module(m.name) for m in pkgutil.walk_packages(root.__path__, f"{package}.")]


def public(package, wanted):
    """Public classes and functions that modules under `package` define themselves and `wanted` accepts."""
    return [
        x
        for m in modules(package)
        for name, x in vars(m).items()
        if not name.startswith("_")
        and (inspect.isclass(x) or inspect.isfunction(x))
        and x.__module__ == m.__name__
        and wanted(x)
    ]


def names():
    """Every public name of the package, for `eval(repr(x))`."""
    return {k: x for m in modules("adamantine") for k, x in vars(m).items() if not k.startswith("_")}
