"""What the OpenAPI document says beside what FastAPI makes of the routes: that which clients are generated from."""

import json
from typing import Any


def mend(document: dict[str, Any]) -> None:
    """Change the document in place."""
    _say_objects(document["components"]["schemas"])


def _say_objects(schemas: dict[str, Any]) -> None:
    """A default that is an object is told in words: generators of clients cannot hold one, and give the schema up."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if isinstance(field.get("default"), dict):
                default = json.dumps(field.pop("default"))
                said = f"Left out: `{default}`."
                field["description"] = f"{field['description']} {said}" if field.get("description") else said
