"""Sentences that are too long for a model are left out for both, and a candidate does not choose which."""

from dataclasses import replace

from pipeline.reviews import wording
from pipeline.reviews.comparison import Speed
from pipeline.reviews.measurement import Measurement
from pipeline.reviews.report import write_report
from pipeline.reviews.review import Review
from pipeline.reviews.too_long import TooLong, find_too_long
from tests.reviews import better, make_review


def measurement(*places: int) -> Measurement:
    return Measurement({}, {}, Speed(1.0, 1.0, 1.0), {"test": list(places), "short": []})


def test_the_champion_decides_what_is_left_out_and_the_candidate_where_there_is_none() -> None:
    assert find_too_long({"candidate": measurement(0, 9)}) == TooLong({"test": [1, 10]}, {})
    both = {"candidate": measurement(0, 9), "opponent": measurement(4, 9)}
    assert find_too_long(both) == TooLong({"test": [5, 10]}, {"test": [1]})
    assert find_too_long({}) == TooLong()


def test_page_and_warnings_tell_how_many_and_the_first() -> None:
    review = replace(make_review([better()]), too_long=TooLong({"test": [5, 10]}, {"test": [1]}))
    left_out, empty = wording.warnings(review, str)
    assert left_out.startswith("test: 2 sentences left out for both, the first on line 5: longer than ")
    assert empty.startswith("test: 1 sentence too long for the candidate but not for the champion, the first on line 1")
    assert left_out in write_report(review, [])
    assert Review.from_json(review.to_json()) == review
