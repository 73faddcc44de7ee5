"""What nearly every job imports, for a spare to import before there is a job (worker/forker.py).

Imports and nothing else: a computation would start threads, and a look at a GPU would take its memory. What only some
jobs need stays out: a network's file, timm, ONNX.
"""

from importlib import import_module
from pkgutil import iter_modules

import torch._dynamo  # noqa: F401 - the first optimizer imports it, for more than a second

import worker.engine.job  # noqa: F401

#: Found by name, as the engine finds them.
for _kind in ("worker.losses", "worker.tasks"):
    for _file in iter_modules(import_module(_kind).__path__, f"{_kind}."):
        import_module(_file.name)
