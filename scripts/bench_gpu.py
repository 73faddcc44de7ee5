"""The training table of scripts.bench_train on a GPU; on a machine without one it says so and ends.

python -m scripts.bench_gpu [--small] [--check] [--device cpu]
"""

import sys

import torch

from scripts.bench_train.__main__ import main as bench


def main() -> None:
    """As `bench_train`, with the device's name above."""
    if "--device" in sys.argv:
        print("on the device that was named; its figures say nothing of a GPU if that is the CPU")
    elif torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
        sys.argv += ["--device", "cuda"]
    else:
        sys.exit("no GPU is to be had here: nothing was measured")
    bench()


if __name__ == "__main__":
    main()
