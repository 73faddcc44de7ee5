"""docs/regimes.md: every block of it is a body that the API takes, every way of teaching and every code is there."""

import json
import re
from typing import Any, get_args

import pytest

from api.schemas import DatasetCreate
from models.spec.job import JobSpec
from models.spec.teaching import AnyTeacher, Regime
from tests.packaging.images import ROOT

PAGE = (ROOT / "docs" / "regimes.md").read_text()
BASE, *BLOCKS = (
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
)
JOBS = [block for block in BLOCKS if "upload" not in block]
UPLOADS = [block for block in BLOCKS if "upload" in block]
CODE = re.compile(r"`([a-z]+(?:_[a-z]+)+|invalid)`")

KINDS: list[type[Regime]] = list(get_args(get_args(AnyTeacher)[0]))


def types(node: Any) -> set[str]:
    """Every `type` in a body."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = {node["type"]} if isinstance(node, dict) and "type" in node else set()
    return own.union(*(types(each) for each in inside))


@pytest.mark.parametrize("block", JOBS, ids=json.dumps)
def test_a_block_makes_a_job(block: dict[str, Any]) -> None:
    spec = JobSpec.model_validate({**BASE, **block})
    assert JobSpec.model_validate(spec.resolved().model_dump(mode="json")) == spec.resolved()


@pytest.mark.parametrize("block", UPLOADS, ids=json.dumps)
def test_a_block_makes_a_data_set(block: dict[str, Any]) -> None:
    DatasetCreate.model_validate(block)


def test_each_way_of_teaching_is_shown() -> None:
    kinds = {kind.model_fields["type"].default for kind in KINDS}
    assert kinds <= types(JOBS)
    assert any("assistants" in block for block in JOBS)


def test_each_paper_is_named() -> None:
    for kind in KINDS:
        for number in re.findall(r"arXiv:[\d.]+\d", kind.paper):
            assert number in PAGE


def test_each_code_is_explained() -> None:
    explained = set(re.findall(r"^### (.+)$", (ROOT / "docs" / "errors.md").read_text(), flags=re.MULTILINE))
    known = {code for line in explained for code in line.split(", ")}
    refusals = re.findall(r"\*\*Refused\*\*:(.*?)(?=\n\n)", PAGE, flags=re.DOTALL)
    codes = {code for text in refusals for group in re.findall(r"\(([^()]*)\)", text) for code in CODE.findall(group)}
    assert len(codes) > 10
    assert codes <= known
