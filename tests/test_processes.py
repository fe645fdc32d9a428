"""How a stage's processes are set up: as many as were asked for, in a precision that the machine has."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from pipeline.errors import UserError
from pipeline.processes import has_bf16, join_processes


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    """Accelerate keeps a process's first setting for good: forget it before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_another_number_of_processes_than_expected_is_refused() -> None:
    with pytest.raises(UserError, match="1 processes were started, 2 expected; start them with make, NPROC=2"):
        join_processes("fp32", expected=2)


@pytest.mark.parametrize(
    ("asked", "mixed"), [("fp32", "no"), ("bf16", "bf16"), ("auto", "bf16" if has_bf16() else "no")]
)
def test_the_precision_is_the_one_asked_for_or_the_machines(asked: str, mixed: str) -> None:
    assert join_processes(asked, expected=1).mixed_precision == mixed
