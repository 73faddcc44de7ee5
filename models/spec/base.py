"""What every entry of the menu shares: frozen values, no unknown fields, bounds on each number."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from models.spec.exact import make_exact


class Entry(BaseModel):
    """A choice on the menu. Unknown fields are refused, so that a typo is never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's, made to read what the JSON Schema says and nothing else."""
        schema = handler(source)
        make_exact(schema, source)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Pydantic's, where the `type` by which a choice is told from the others has to be given."""
        said = handler(schema)
        told = handler.resolve_ref_schema(said)
        if "const" in told.get("properties", {}).get("type", {}):
            told["required"] = ["type", *told.get("required", [])]
        return said


class Documented(Entry):
    """An entry that the catalog explains: its formula and where it comes from."""

    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    use_when: ClassVar[str] = ""


Temperature = Annotated[float, Field(gt=0, le=1000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
ModulePath = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[\w./:\-]+$")]
