"""make, its targets and .venv: the two commands work in any folder, and the packages are exactly the listed ones."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path

import pytest

from tests.packaging.images import ROOT, packages

OURS = ("api", "core", "migrations", "models", "scripts", "tests", "worker")
#: What a CUDA build of torch brings along; torch itself pins it.
CUDA = re.compile(r"nvidia-|cuda-|triton$")

#: What some Pythons need and others do not: redis wants it below 3.11.3. And what `make bench-train` alone installs.
ELSEWHERE = {"async-timeout", "cython", "torchdistill"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that make .venv, in a folder whose name is hard on scripts."""
    folder = tmp_path / "a copy's (1) #2 $HOME %20 é"
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "scripts/venv.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )


def pretend_installed(folder: Path, installed_for: Path) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv" / "installed").write_text(f"{installed_for}\n")


def test_help_lists_every_target() -> None:
    made = make(ROOT, "help")
    listed = re.findall(r"^  make (\S+) +\S", made.stdout, flags=re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(listed) == set(phony.split()) - {"moved"}
    assert make(ROOT).stdout == made.stdout


def test_each_target_runs_a_script_that_exists() -> None:
    for module in re.findall(r"-m (scripts\.\S+)", (ROOT / "Makefile").read_text()):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_what_is_installed_is_not_installed_again(copy: Path) -> None:
    pretend_installed(copy, copy)
    assert "venv.sh" not in make(copy, "-n", "demo").stdout
    newer = (copy / ".venv" / "installed").stat().st_mtime + 10
    os.utime(copy / "constraints.txt", (newer, newer))
    assert "venv.sh" in make(copy, "-n", "demo").stdout


def test_a_copied_folder_gets_an_environment_of_its_own(copy: Path, tmp_path: Path) -> None:
    pretend_installed(copy, tmp_path / "elsewhere")
    assert "venv.sh" in make(copy, "-n", "demo").stdout


def test_an_interpreter_that_is_too_old_is_refused(copy: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = make(copy, "test", PYTHON=str(old))
    assert refused.returncode != 0
    assert "is not Python 3.11 or newer" in refused.stderr
    assert not (copy / ".venv").exists()


def listed() -> dict[str, str]:
    """constraints.txt: version by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def every_package() -> dict[str, Distribution]:
    """What `make` installs, by name, without what belongs to a CUDA build."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = {name: package for extra in set(extras) - {"bench"} for name, package in packages(extra).items()}
    return {name: package for name, package in found.items() if not CUDA.match(name)}


def test_every_package_is_listed_with_the_version_that_is_tested() -> None:
    here = {name: package.version.split("+")[0] for name, package in every_package().items()}
    assert here == {name: version for name, version in listed().items() if name in here or name not in ELSEWHERE}


def imported() -> set[str]:
    """Every name that any file of ours imports: the part before the first dot."""
    found: set[str] = set()
    for folder in OURS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
    return found


def test_every_import_is_of_a_listed_package() -> None:
    told = packages_distributions()
    foreign = imported() - set(sys.stdlib_module_names) - set(OURS) - {"torchdistill"}  # of the extra `bench`
    assert {"torch", "pytest", "httpx"} <= foreign
    packages_of = {name: {package.lower().replace("_", "-") for package in told.get(name, [])} for name in foreign}
    assert not {name: found for name, found in packages_of.items() if not found & set(listed())}


def test_every_extra_but_the_bench_is_installed_by_make() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [asked] = re.findall(r"\.\[([\w,]+)\]", (ROOT / "scripts" / "venv.sh").read_text())
    assert set(asked.split(",")) == set(extras) - {"bench"}


def test_ci_runs_both_commands() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text().splitlines()[-1] == "exec make check test"
