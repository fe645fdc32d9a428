"""Go back to the previous champion: PARAMS_FILE... and $REASON, $FORCE."""

from pipeline.plumbing.command import fail_clearly
from pipeline.reviews.registered_models import version_name
from stages.answers import is_forced
from stages.registry import asked_reason, open_registry


def rollback() -> None:
    reason, forced = asked_reason(), is_forced()
    registry = open_registry()
    champion = registry.decision(reason, forced).rollback()
    print(f"{version_name(champion)} is the champion again")


if __name__ == "__main__":
    fail_clearly(rollback)
