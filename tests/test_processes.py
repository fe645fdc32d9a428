"""The number of processes and their precision are as requested, or an error says what the machine lacks."""

import pytest
import torch

from pipeline import processes
from pipeline.plumbing.errors import UserError
from pipeline.processes import join_processes

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")


def test_another_number_of_processes_than_expected_is_refused() -> None:
    with pytest.raises(UserError, match="1 processes were started, 2 expected; start them with make, NPROC=2"):
        join_processes("fp32", expected=2)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"^2 processes need one GPU each, but this machine has 1; .*CUDA_VISIBLE_DEVICES="
    ):
        join_processes("fp32", expected=2)


@pytest.mark.parametrize(
    ("asked", "faster", "mixed"),
    [("fp32", True, "no"), ("bf16", False, "bf16"), ("auto", True, "bf16"), ("auto", False, "no")],
)
def test_precision_auto_is_bf16_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, asked: str, faster: bool, mixed: str
) -> None:
    monkeypatch.setattr(processes, "has_bf16", lambda: True)
    monkeypatch.setattr(processes, "is_bf16_faster", lambda: faster)
    assert join_processes(asked, expected=1).mixed_precision == mixed


@pytest.mark.parametrize(
    ("vendor", "bf16", "amx", "faster"),
    [
        ("AuthenticAMD", True, False, True),
        ("AuthenticAMD", False, False, False),
        ("GenuineIntel", True, False, False),
        ("GenuineIntel", True, True, True),
        ("", True, False, True),
    ],
)
def test_processors_of_intel_are_fast_in_bf16_only_with_amx(
    monkeypatch: pytest.MonkeyPatch, vendor: str, bf16: bool, amx: bool, faster: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(processes, "vendor", lambda: vendor)
    assert processes.is_bf16_faster() == faster


def test_a_precision_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "has_bf16", lambda: False)
    with pytest.raises(UserError, match=r"^train.precision: got bf16, which .* set it to auto or fp32$"):
        join_processes("bf16", expected=1)
