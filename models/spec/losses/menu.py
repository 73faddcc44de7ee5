"""The menu of losses: one term of a job is any of these."""

from typing import Annotated

from pydantic import Field

from models.spec.losses.feature import FeatureLoss
from models.spec.losses.relation import RelationLoss
from models.spec.losses.response import ResponseLoss
from models.spec.losses.structure import StructureLoss
from models.spec.losses.token import TokenLoss

Loss = Annotated[ResponseLoss | TokenLoss | FeatureLoss | StructureLoss | RelationLoss, Field(discriminator="type")]
