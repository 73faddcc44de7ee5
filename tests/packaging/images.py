"""The images of the Dockerfile, and the deployment that uses them, without a container engine.

`read` takes from a stage what a container would start with; `lay_out` makes it a folder: the files that are copied, and
an interpreter that finds the packages of the installed extra and no others. So the very commands of the Dockerfile run
as plain processes, and what an image lacks is missing here as well.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stage:
    """One `FROM`: its instructions in order, as (name, the rest of the line)."""

    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """What follows an instruction, for each time it is given."""
        return [rest for instruction, rest in self.lines if instruction == name]


@dataclass(frozen=True)
class Image:
    """What a container of a target starts with."""

    copied: list[str]
    extra: str
    environment: dict[str, str]
    user: str
    ports: list[int]
    command: list[str]
    health: list[str]


@dataclass(frozen=True)
class Place:
    """An image as a folder."""

    app: Path
    python: Path

    def start(self, command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command as the image would, with these variables and no others."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(self.python) if word == "python" else word for word in command],
                cwd=self.app,
                env={"PATH": f"{self.python.parent}:{os.defpath}", "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, command: list[str], environment: dict[str, str], log: Path, timeout_s: float = 60.0) -> int:
        """Run a command to its end and return its exit code; what it prints is appended to `log`."""
        return self.start(command, environment, log).wait(timeout_s)


def stages() -> dict[str, Stage]:
    """The Dockerfile's stages by name."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: dict[str, Stage] = {}
    for line in filter(None, text.splitlines()):
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            found[name] = Stage(base)
        else:
            list(found.values())[-1].lines.append((instruction, rest))
    return found


def read(target: str) -> Image:
    """What a container of `target` starts with."""
    every = stages()
    stage = every[target]
    copies = stage.values("COPY")
    [packages] = [copy.split()[0].removeprefix("--from=") for copy in copies if copy.startswith("--from=")]
    [extra] = re.findall(r"'\.\[(\w+)\]'", " ".join(every[packages].values("RUN")))
    environment = dict(pair.split("=", 1) for env in stage.values("ENV") for pair in shlex.split(env))
    [command], [health], [user] = stage.values("CMD"), stage.values("HEALTHCHECK"), stage.values("USER")
    return Image(
        copied=[copy.split()[0] for copy in copies if not copy.startswith("--from=")],
        extra=extra,
        environment=environment,
        user=user,
        ports=[int(port) for port in stage.values("EXPOSE")],
        command=json.loads(command),
        health=json.loads(health[health.index("[") :]),
    )


def packages(extra: str) -> dict[str, Distribution]:
    """Every installed package that `pip install '.[extra]'` asks for, by name, from the metadata of the packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"][extra])]
    found: dict[str, Distribution] = {}
    extras: defaultdict[str, set[str]] = defaultdict(set)
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found and requirement.extras <= extras[name]:
            continue
        extras[name] |= requirement.extras
        found[name] = distribution(name)
        wanted += [each for each in _requirements(found[name]) if _applies(each, extras[name])]
    return found


def _requirements(package: Distribution) -> list[Requirement]:
    return [Requirement(line) for line in package.requires or ()]


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def lay_out(image: Image, folder: Path) -> Place:
    """Make `folder` hold what the image does."""
    app = folder / "app"
    for name in image.copied:
        shutil.copytree(ROOT / name, app / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    [site] = (folder / "venv" / "lib").glob("python3.*/site-packages")
    for package in packages(image.extra).values():
        for name in {file.parts[0] for file in package.files or () if file.parts[0] != ".."}:
            if not (site / name).exists():
                (site / name).symlink_to(str(package.locate_file(name)))
    return Place(app, folder / "venv" / "bin" / "python")


def run_compose(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let Docker Compose read docker-compose.yml with these variables and no others; a .env beside it is not read."""
    tool = str(Path(sys.executable).parent / "docker-compose")
    command = [tool, "--env-file", os.devnull, "--profile", "*", "config", "--format", "json"]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": os.defpath, **variables}, check=False, capture_output=True, text=True
    )
