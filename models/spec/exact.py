"""Numbers and truth values as JSON has them: pydantic by itself takes `true` and `"4"` for numbers, and 1 for true.

The published JSON Schema says otherwise, and a typo must never be a silent value.
"""

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError, core_schema

#: Where pydantic keeps the schemas inside a schema; `fields` and `choices` may be mappings from names.
_INNER = {"schema", "items_schema", "keys_schema", "values_schema", "definitions"}


def make_exact(node: Any, owner: type[BaseModel]) -> None:
    """Change the core schema of a model in place. The models inside it do it for themselves."""
    if isinstance(node, (list, tuple)):
        for item in node:
            make_exact(item, owner)
    elif isinstance(node, dict) and not _is_done(node, owner):
        if node.get("type") == "int":
            # Not pydantic's strict mode, which refuses 4.0: that is an integer in JSON Schema.
            inner = dict(node)
            node.clear()
            node.update(core_schema.no_info_before_validator_function(_integer, inner))
        elif node.get("type") in {"float", "bool"}:
            node["strict"] = True
        else:
            for key in _INNER & node.keys():
                make_exact(node[key], owner)
            for key in ("fields", "choices"):
                held = node.get(key)
                make_exact(list(held.values()) if isinstance(held, dict) else held, owner)


def _is_done(node: dict[str, Any], owner: type[BaseModel]) -> bool:
    """Another model's, or an integer of ours: a model's finished schema comes again wherever the model is used."""
    if node.get("type") == "function-before":
        return node["function"].get("function") is _integer
    return node.get("type") == "model" and node["cls"] is not owner


def _integer(value: Any) -> Any:
    if isinstance(value, (bool, str, bytes)):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value
