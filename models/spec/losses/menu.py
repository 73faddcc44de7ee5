"""The menu of losses: one term of a job is any of these."""

from typing import Annotated, get_args

from pydantic import Field

from models.spec.losses.feature import FeatureLoss
from models.spec.losses.relation import RelationLoss
from models.spec.losses.response import ResponseLoss
from models.spec.losses.structure import StructureLoss
from models.spec.losses.term import LossTerm
from models.spec.losses.token import TokenLoss

Loss = Annotated[ResponseLoss | TokenLoss | FeatureLoss | StructureLoss | RelationLoss, Field(discriminator="type")]

#: Every entry, in the order of the menu.
ENTRIES: tuple[type[LossTerm], ...] = get_args(get_args(Loss)[0])


def tag(entry: type[LossTerm]) -> str:
    """What a job calls it: `kd`."""
    return str(entry.model_fields["type"].default)


def family(entry: type[LossTerm]) -> str:
    """What it reads: `response`, `token`, `feature`, `structure` or `relation`, the file that it is in."""
    return entry.__module__.rpartition(".")[2]
