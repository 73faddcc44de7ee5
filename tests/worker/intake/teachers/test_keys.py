"""From the names in a checkpoint to the names of an architecture."""

import time

import pytest
import torch

from core.errors import Rejected
from worker.intake import keys
from worker.intake.keys import WRAPPERS, Named, rename, strip_prefixes, unwrap

ONE = torch.ones(1)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_one_wrapper_is_taken_off(wrapper: str) -> None:
    found = unwrap({"epoch": 3, wrapper: {"a": ONE}, "other": {"b": ONE}})
    assert list(found.weights) == ["a"]
    assert (found.wrapper, found.ignored) == (wrapper, ["epoch", "other"])


def test_the_first_wrapper_wins_and_the_other_is_named() -> None:
    found = unwrap({"ema": {"a": ONE}, "model": {"b": ONE}})
    assert (list(found.weights), found.ignored) == (["b"], ["ema"])


def test_a_module_named_model_is_no_wrapper() -> None:
    assert list(unwrap({"model.weight": ONE, "net.bias": ONE}).weights) == ["model.weight", "net.bias"]


def test_entries_that_are_no_tensors_are_named() -> None:
    found = unwrap({"a": ONE, "epoch": 1, 7: ONE})
    assert (list(found.weights), found.ignored) == (["a"], ["epoch", "7"])
    assert unwrap({"state_dict": {"a": ONE, "lr": 0.1}}).ignored == ["state_dict.lr"]


@pytest.mark.parametrize("content", [None, [], 3, ONE, {}, {"a": 1}, {"model": {"model": {"a": ONE}}}])
def test_nothing_to_take(content: object) -> None:
    with pytest.raises(Rejected, match="state_dict"):
        unwrap(content)


def test_prefixes_come_off_only_where_every_name_has_them() -> None:
    named = Named({"module._orig_mod.a": ONE, "module._orig_mod.module.b": ONE})
    strip_prefixes(named)
    assert list(named.weights) == ["a", "module.b"]
    assert named.stripped == ["module.", "_orig_mod."]


def test_rules_are_applied_in_order() -> None:
    named = Named({"linear.weight": ONE, "linear.bias": ONE, "conv": ONE, "total_ops": ONE})
    rename(named, [("^linear", "head"), (r"head\.(\w+)", r"fc.\1"), ("^total_.*", "")])
    assert list(named.weights) == ["fc.weight", "fc.bias", "conv"]
    assert named.renamed["total_ops"] is None


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (("(", "x"), "unterminated"),
        (("a", r"\3"), "invalid group"),
        (("a|b", "c"), "two weights the name 'c'"),
        (("(.*)", r"\1" * 90), "longer than"),
    ],
)
def test_a_rule_that_cannot_work_is_pointed_at(rule: tuple[str, str], says: str) -> None:
    with pytest.raises(Rejected) as caught:
        rename(Named({"a" * 20: ONE, "a": ONE, "b": ONE}), [("zzz", ""), rule])
    assert [problem.pointer for problem in caught.value.errors] == ["/rename/1"]
    assert says in caught.value.detail
    assert "rename[1]" in caught.value.detail


def test_a_rule_that_would_never_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_RENAME_S", 0.3)
    started = time.monotonic()
    with pytest.raises(Rejected, match="did not end"):
        rename(Named({"a" * 60 + "!": ONE}), [("(a|a)*b", "x")])
    assert time.monotonic() - started < 5
