"""A Hub that fails: each fault ends in the right corpus after another try, or in a clear error, never in wrong data."""

from pathlib import Path

import pytest

from tests.minihub import Fault
from tests.test_hub import COMMIT, JSON_LINES, read, rows

API = "/api/datasets/some/corpus"
REQUESTS = {  # of one download
    "commit": f"{API}/revision",
    "files": f"{API}/tree",
    "digests": f"{API}/paths-info",
    "card": f"resolve/{COMMIT}/README.md",
    "train": f"resolve/{COMMIT}/train.jsonl",
    "test": f"resolve/{COMMIT}/test.jsonl",
}
TEMPORARY = ["500", "502", "503", "504", "429", "reset", "hang"]
LASTING = ["401", "403", "404", "page"]
SHORT_WAITS = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
EXPECTED = [(row["en"], row["de"]) for row in rows("big", 5)]


def failing(kind: str, part: str, times: int) -> tuple[Fault, list[str]]:
    """Return a fault for so many requests of a path that contains `part`, and the list of the faults caused."""
    caused: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if part not in path or len(caused) >= times:
            return None
        caused.append(f"{method} {path}")
        return kind

    return fault, caused


@pytest.mark.slow
@pytest.mark.parametrize("part", REQUESTS)
@pytest.mark.parametrize("kind", [*TEMPORARY, "page", "truncate", "corrupt"])
def test_after_one_fault_the_corpus_is_right(tmp_path: Path, kind: str, part: str) -> None:
    fault, caused = failing(kind, REQUESTS[part], 1)
    result, _ = read(tmp_path, JSON_LINES, fault, environment=SHORT_WAITS)
    if not caused:
        pytest.skip(f"a download does not ask for {part} in this way")
    if result.status:  # told clearly, not repeated
        assert kind == "page"
        assert result.refused("some/corpus")
    else:
        assert result.pairs("test") == EXPECTED
        assert result.facts["splits"] == {"train": 5, "validation": 5, "test": 5}


@pytest.mark.slow
@pytest.mark.parametrize("part", REQUESTS)
@pytest.mark.parametrize("kind", [*TEMPORARY, *LASTING, "truncate", "corrupt"])
def test_a_fault_that_stays_is_a_clear_error_or_does_no_harm(tmp_path: Path, kind: str, part: str) -> None:
    fault, caused = failing(kind, REQUESTS[part], 1000)
    result, _ = read(tmp_path, JSON_LINES, fault, environment=SHORT_WAITS)
    if not caused:
        pytest.skip(f"a download does not ask for {part} in this way")
    if result.status:
        assert result.refused("some/corpus")
    else:
        assert result.pairs("test") == EXPECTED
        assert part in ("card", "files") or kind in ("truncate", "corrupt")
