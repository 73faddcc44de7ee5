"""What schemathesis is told of this service: how requests are changed before they go, and which findings are none.

No check is switched off. scripts/contract/rules.py says which findings are dropped; each is counted.
"""

# ruff: noqa: ARG001 - schemathesis calls a hook with all that it offers
import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.hooks import HookContext

from scripts.contract.conditions import Conditions
from scripts.contract.mending import Mending
from scripts.contract.rules import finding, rule_of
from scripts.contract.tally import Tally
from scripts.contract.things import Things

_conditions = Conditions(json.loads(Path(os.environ["CONTRACT_DOCUMENT"]).read_text()))
_things = Things(json.loads(os.environ["CONTRACT_THINGS"]))
_mending = Mending(_things)
_tally = Tally()
_tally.write_at_exit(Path(os.environ["CONTRACT_TALLY"]))

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.hook
def filter_case(context: HookContext, case: Any) -> bool:
    """What the run stands on is not deleted, though an answer that came before names it."""
    return case.method != "DELETE" or not any(map(_things.stays, (case.path_parameters or {}).values()))


@schemathesis.hook
def before_call(context: HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Make it mean something."""
    _mending.mend(_operation(case), case)


@schemathesis.hook
def after_call(context: HookContext, case: Any, response: Response) -> None:
    """Count the answer, and learn what it tells."""
    operation = _operation(case)
    if case.method.upper() != case.operation.method.upper():
        return
    if case.meta is not None and not _conditions.are_met(operation, case.body):
        # schemathesis has no way to know; from here on it insists that the request is refused.
        case.meta.generation.mode = GenerationMode.NEGATIVE
    _tally.answer(operation, response.status_code)
    _things.learn(operation, case.path_parameters or {}, response)
    if response.status_code == 429:
        when = response.headers.get("retry-after", [""])[0]
        # The answer to a HEAD has no body to tell it.
        code = response.json()["code"] if response.content else "too_many_requests"
        _tally.limit(operation, code, says_when=when.isdecimal() and int(when) > 0)


@schemathesis.check
def conditions_are_kept(ctx: CheckContext, response: Response, case: Any) -> None:
    """A job that is taken keeps to the conditions that schemathesis knows nothing of."""
    if _operation(case) == "create_job" and response.status_code == 201:
        assert _conditions.are_met("create_job", case.body), "accepted against the conditions of the document"


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Any, response: Response) -> bool:
    """Whether a finding is one."""
    found = finding(failure, _operation(case), case, response)
    if rule := rule_of(found):
        _tally.drop(rule, found.operation, found.status, found.code)
    return not rule


def _operation(case: Any) -> str:
    return str(case.operation.definition.raw.get("operationId", ""))
