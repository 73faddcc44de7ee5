"""The conditions between the fields of a job, which schemathesis does not draw by.

Merged into a schema of that size they cost it minutes a request. So it gets the document without them, and what it then
draws is held to them here.
"""

import copy
from typing import Any

import jsonschema_rs

_SCHEMA = "JobSpec"
_OPERATIONS = {"create_job", "validate_job"}


def withheld(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the conditions."""
    drawn = copy.deepcopy(document)
    assert drawn["components"]["schemas"][_SCHEMA].pop("allOf"), "there are some"
    return drawn


class Conditions:
    """Those of a whole document."""

    def __init__(self, document: dict[str, Any]) -> None:
        whole = {"allOf": document["components"]["schemas"][_SCHEMA]["allOf"]}
        self._validator = jsonschema_rs.validator_for(whole)

    def are_met(self, operation: str, body: Any) -> bool:
        """Whether the body of a job keeps to them; another body, and what is no object, has none to keep to."""
        return operation not in _OPERATIONS or not isinstance(body, dict) or self._validator.is_valid(body)
