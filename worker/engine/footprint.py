"""The most memory that a job held: of the machine, and of the device where that has its own."""

import resource

import torch


def peak(device: torch.device) -> dict[str, int | None]:
    """In bytes, so far. The device's is what torch had reserved there; None on the CPU."""
    # getrusage(2): ru_maxrss is in kilobytes.
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "peak_bytes": whole,
        "device_peak_bytes": torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
    }
