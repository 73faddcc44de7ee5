"""Ids say what they are and cannot be guessed."""

import re

from core.ids import new_id


def test_an_id_has_its_prefix_and_is_never_the_same() -> None:
    made = {new_id("job") for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"job_[A-Za-z0-9]{24}", each) for each in made)
