"""Make a reviewed version the champion: PARAMS_FILE... and $VERSION, $REASON, $FORCE."""

from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.registry.sandbox.isolation import warn_if_not_isolated
from pipeline.reviews.registered_models import version_name
from stages.answers import is_forced
from stages.registry import asked_experiment, asked_reason, asked_version, open_registry


def promote() -> None:
    version, reason, forced = asked_version(), asked_reason(), is_forced()
    if version is None:
        option = experiment_option(asked_experiment())
        raise UserError(
            f"VERSION is missing; make versions{option} lists them; type the number of one: "
            f"make promote VERSION=number REASON=...{option}"
        )
    registry = open_registry()
    warn_if_not_isolated()  # the package of the champion will be run
    champion = registry.decision(reason, forced).promote(version)
    print(
        f"{version_name(champion)} is the champion now; to undo this: make rollback REASON=...{registry.models.option}"
    )


if __name__ == "__main__":
    fail_clearly(promote)
