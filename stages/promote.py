"""Make a reviewed version the champion: PARAMS_FILE... and $VERSION, $REASON, $FORCE."""

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.registry.confinement import warn
from pipeline.reviews.models import describe
from stages.desk import asked_reason, asked_version, is_forced, open_desk


def promote() -> None:
    version, reason, forced = asked_version(), asked_reason(), is_forced()
    if version is None:
        raise UserError("VERSION is missing: name the version to promote, as in: make promote VERSION=3 REASON=...")
    desk = open_desk()
    warn()  # the champion is asked for a translation
    champion = desk.decision(reason, forced).promote(version)
    print(f"{describe(champion)} is the champion; to go back: make rollback REASON=...{desk.models.option}")


if __name__ == "__main__":
    fail_clearly(promote)
