"""The tree is what the README says it is, and no file holds what belongs to one machine or was left for later."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from tests.packaging.images import ROOT

LEFT_OUT = r"\.(?!ci$).*|var|build|dist|__pycache__|.*\.egg-info"

#: With brackets, so that this file does not hold what it forbids.
FORBIDDEN = {
    "a folder of one machine": r"(?<![\w.-])/(?:[w]ork|[r]oot|[h]ome/\w+|[o]pt)/",
    "the host of a package registry": r"py[p]i\.org|python[h]osted|npm[j]s\.|deb[i]an\.org|download\.py[t]orch",
    "a mark for later": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b",
    "a conflict": r"^(?:<{7}|>{7}) ",
}


def files() -> Iterator[Path]:
    """Every file of the project, relative to its root; what tools and servers make is left out."""
    for folder, names, found in os.walk(ROOT):
        names[:] = [name for name in names if not re.fullmatch(LEFT_OUT, name)]
        yield from (Path(folder, name).relative_to(ROOT) for name in found)


def texts() -> Iterator[tuple[Path, str]]:
    """Those that are text, with it."""
    for path in files():
        try:
            yield path, (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], flags=re.MULTILINE)
    found = [f"{path}: {match[0]}" for path, text in texts() for match in [pattern.search(text)] if match]
    assert not found


def test_packages_have_empty_doors() -> None:
    # Whoever takes one table must get the metadata of all, or a database made of it lacks the others.
    doors = [path for path, text in texts() if path.name == "__init__.py" and text]
    assert doors == [Path("models/tables/__init__.py")]


def described() -> dict[str, str]:
    """The README's tree: each path with its role. A line's depth is two spaces a level."""
    [tree] = re.findall(r"^```\n(.*?)^```$", section("The tree"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    parents: list[str] = []
    for line in tree.splitlines():
        indent, names, role = re.fullmatch(r"( *)(\S+(?: \S+)*?)(?: {2,}(.*))?", line).groups()  # type: ignore[union-attr]
        if names.startswith("|") or not names:
            continue
        del parents[len(indent) // 2 :]
        for name in names.split():
            found["/".join([*parents, name.rstrip("/")])] = role or ""
        parents.append(names.rstrip("/"))
    return found


def section(title: str) -> str:
    """A section of the README."""
    return re.split(r"^## ", (ROOT / "README.md").read_text().split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]


def test_the_readme_shows_the_tree() -> None:
    tree = described()
    missing = [path for path in tree if not (ROOT / path).exists()]
    assert not missing, "the README names what is not there"
    top = {path.parts[0] for path in files() if not path.parts[0].startswith(".")}
    assert not top - set(tree), "the README does not name these"
    assert not [path for path, role in tree.items() if not role], "each line says what it is for"


@pytest.mark.parametrize("package", ["api", "core", "models", "worker"])
def test_the_readme_shows_each_part_of_a_package(package: str) -> None:
    inside = {path.parts[1] for path in files() if path.parts[0] == package and len(path.parts) > 2}
    assert not {f"{package}/{name}" for name in inside} - set(described())


def test_links_lead_somewhere() -> None:
    pages = [path for path in files() if path.suffix == ".md"]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / page.parent / link).exists(), f"{page} links to {link}"


def test_every_make_target_that_is_written_about_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for path in (path for path in files() if path.suffix == ".md" or path.name == "run"):
        written = re.findall(r"`make ([a-z-]+)", (ROOT / path).read_text())
        assert set(written) <= targets, path


def test_every_setting_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `DISTILLERY_")]
    assert rows == expected_rows(), "\n" + "\n".join(expected_rows())


def expected_rows() -> list[str]:
    """The table as core/settings.py would have it."""
    return [
        f"| `DISTILLERY_{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def shown(default: object) -> str:
    """A default as one would write it into the environment."""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    if isinstance(default, int) and default >= 2**30:
        return f"`{default}` ({default >> 30} GiB)"
    return f"`{default}`" if str(default) else ""
