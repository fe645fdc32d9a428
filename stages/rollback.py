"""Make the champion before the champion again: PARAMS_FILE... and $REASON, $FORCE."""

from pipeline.plumbing.command import fail_clearly
from pipeline.reviews.models import describe
from stages.desk import asked_reason, is_forced, open_desk


def rollback() -> None:
    reason, forced = asked_reason(), is_forced()
    desk = open_desk()
    champion = desk.decision(reason, forced).rollback()
    print(f"{describe(champion)} is the champion again")


if __name__ == "__main__":
    fail_clearly(rollback)
