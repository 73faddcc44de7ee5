"""The API's image holds no torch: importing it must not need any."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_api_imports_neither_torch_nor_the_worker() -> None:
    code = """
import sys, api.main
api.main.create_app().openapi()
heavy = {"torch", "timm", "onnx", "onnxruntime", "numpy", "worker"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
