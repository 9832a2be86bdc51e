"""Other implementations of our recipes, as data: which call of which package is held against which recipe."""

import importlib
import pkgutil

from peers.peer import Peer

PAGES = [importlib.import_module(f"peers.{m.name}") for m in pkgutil.iter_modules(__path__)]
PEERS: list[Peer] = [x for page in PAGES for x in getattr(page, "PEERS", [])]
