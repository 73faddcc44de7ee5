"""student.pth: a plain state_dict, which `torch.load(weights_only=True)` opens and the architecture loads as it is.

The same student always gives the same bytes.
"""

from pathlib import Path

import torch

from core.errors import Internal
from models.work import WorkOrder
from worker.engine.networks import Network, build_network
from worker.exporters._files import whole
from worker.exporters._state import outputs, plain_state, samples

STEM, SUFFIX = "student", ".pth"


def export(network: Network, order: WorkOrder, out_dir: Path, *, stem: str = STEM) -> Path:
    """Writes the file whole or not at all, reads it back, and compares what it computes. Raises Internal."""
    path = out_dir / f"{stem}{SUFFIX}"
    with whole(path) as file:  # by name, torch would write the name of the file into it
        torch.save(plain_state(network.module), file)
    _check(path, network, order)
    return path


def _check(path: Path, network: Network, order: WorkOrder) -> None:
    data = order.dataset
    with torch.random.fork_rng(devices=[]):  # a run that goes on after this must not notice it
        fresh = build_network(order.spec.student, data.input_shape, data.num_outputs).module
    try:
        fresh.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except RuntimeError as error:
        raise Internal(f"{path.name} does not fit the student that was asked for: {error}", code="export") from error
    x = samples(data.input_shape)
    if not torch.equal(outputs(fresh, x).nan_to_num(), outputs(network.module, x).nan_to_num()):
        raise Internal(f"{path.name} does not compute what the trained student computes", code="export")
