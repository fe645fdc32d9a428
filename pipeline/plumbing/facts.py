"""Define types for the facts that one stage records in its artifact's manifest and that other stages read.

Each kind of artifact has a subclass of Facts. It is defined beside the code that makes the artifact:

    draft.facts = EncodedFacts(train=counts, validation=others)  # the stage that makes the artifact
    EncodedFacts.of(artifact).train.pairs  # whoever reads it

A field that is added later needs a default, so that the manifests of registered versions can still be read.
"""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .artifacts import MANIFEST, Artifact, rebuild
from .errors import UserError

P = TypeVar("P", bound="Part")


class Part(BaseModel):
    """A part of a manifest. It has no fields but the declared ones, and their values have the declared types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Facts(Part):
    """The facts of an artifact, which are part of its digest."""

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return the facts of `artifact`. Raise UserError, with the command to run, if other code wrote them."""
        return _validated(cls, artifact, artifact.manifest.facts, "facts")


class Execution(Part):
    """How a stage ran: times, speed, names of runs. Equal artifacts can differ in it, so the digest leaves it out."""

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return the execution of `artifact`. Raise UserError, with the command to run, if other code wrote it."""
        return _validated(cls, artifact, artifact.manifest.execution, "execution")


def mistake_in(error: ValidationError) -> str:
    """Describe the first of pydantic's errors in one line: `train.pairs: Field required`."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _validated(kind: type[P], artifact: Artifact, content: Mapping[str, Any], name: str) -> P:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"{artifact.directory / MANIFEST}: {name}.{mistake_in(error)}; another version of this pipeline wrote it; "
            f"{rebuild(artifact.directory, artifact.target)}"
        ) from None
