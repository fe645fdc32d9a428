"""Make a reviewed version the champion: PARAMS_FILE... and $VERSION, $REASON, $FORCE."""

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.registry.sandbox.isolation import warn_if_not_isolated
from pipeline.reviews.registered_models import version_name
from stages.answers import is_forced
from stages.registry import asked_reason, asked_version, open_registry


def promote() -> None:
    version, reason, forced = asked_version(), asked_reason(), is_forced()
    if version is None:
        raise UserError("VERSION is missing; type the number of a version: make promote VERSION=3 REASON=...")
    registry = open_registry()
    warn_if_not_isolated()  # the package of the champion will be run
    champion = registry.decision(reason, forced).promote(version)
    print(
        f"{version_name(champion)} is the champion now; to undo this: make rollback REASON=...{registry.models.option}"
    )


if __name__ == "__main__":
    fail_clearly(promote)
