"""docs/adding.md does what it says: its loss, added to a copy of the tree, passes the tests of every loss."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.images import ROOT

_MENU = "models/spec/losses/response.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the tests of losses read, with the page's blocks in it."""
    for name in ("core", "models", "worker", "tests/reference", "tests/worker/losses"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = (ROOT / "docs" / "adding.md").read_text()
    blocks = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL))
    menu = tmp_path / _MENU
    before, union, members = menu.read_text().partition("ResponseLoss = ")
    [last] = re.findall(r"`\.\.\. \|(?: \w+ \|)* (\w+)`", page)
    assert union
    menu.write_text(f"{before}{blocks.pop(_MENU)}\n\n{union}{_with(members.strip(), last)}\n")
    for path, text in blocks.items():
        assert not (tmp_path / path).exists(), f"{path} is taken: let the page add another loss"
        (tmp_path / path).write_text(text)
    return tmp_path


def _with(members: str, last: str) -> str:
    """The union with one more member, on one line or, in parentheses, on many."""
    return f"{members[:-1]}    | {last}\n)" if members.endswith(")") else f"{members} | {last}"


def test_the_page_adds_a_loss(tree: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/worker/losses", "-k", "logits_l1"]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 20


def test_its_code_is_clean(tree: Path) -> None:
    files = [_MENU, "worker/losses/logits_l1.py", "tests/reference/logits_l1.py"]
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *files], cwd=tree, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
