"""What a machine has, without asking torch, and who holds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings
from worker.devices import CPU, devices, held, is_free, one_of, threads_of_job

ROOT = Path(__file__).resolve().parents[2]


def found(devices_setting: str = "auto") -> list[tuple[str, str, str]]:
    return [(each.name, each.kind, each.visible) for each in devices(Settings(devices=devices_setting))]


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's tool that lists two."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: One (UUID: GPU-a)'\necho 'GPU 1: One (UUID: GPU-b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_gpu_that_the_driver_lists(two_gpus: None) -> None:
    assert found() == [("cuda-0", "cuda", "0"), ("cuda-1", "cuda", "1")]


def test_the_gpus_that_are_named(two_gpus: None) -> None:
    assert found("1,1") == [("cuda-1", "cuda", "1")]


def test_the_gpus_that_are_visible(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-b")
    assert found() == [("cuda-3", "cuda", "3"), ("cuda-GPU-b", "cuda", "GPU-b")]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_no_gpu_where_all_are_hidden(two_gpus: None, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices(Settings(devices="auto")) == [CPU]


def test_the_cpu_where_it_is_asked_for(two_gpus: None) -> None:
    assert devices(Settings(devices="cpu")) == [CPU]


def test_a_wrong_setting_is_told() -> None:
    with pytest.raises(ValueError, match="DISTILLERY_DEVICES"):
        devices(Settings(devices="gpu0"))


def test_cores_are_shared() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_of_job(Settings(threads=0), 1) == cores
    assert threads_of_job(Settings(threads=0), 10 * cores) == 1
    assert threads_of_job(Settings(threads=3), 2) == 3


def test_one_holder_a_device(tmp_path: Path) -> None:
    with one_of(tmp_path, ["a", "b"]) as first, one_of(tmp_path, ["a", "b"]) as second:
        assert (first, second) == ("a", "b")
        assert not is_free(tmp_path, "a")
        with one_of(tmp_path, ["a", "b"]) as third:
            assert third is None
    assert is_free(tmp_path, "a")


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from worker.devices import held\n"
        "with held(Path(sys.argv[1]), 'a') as mine:\n    print(mine, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout as said:
        assert said.readline().strip() == "True"
        with held(tmp_path, "a") as mine:
            assert not mine
        holder.kill()
        holder.wait()
    with held(tmp_path, "a") as mine:
        assert mine
