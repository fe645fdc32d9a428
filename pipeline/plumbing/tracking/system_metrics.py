"""Sample the system metrics of a training into its journal: processor, memory, disk, network and GPU.

MLflow's monitors measure them. MLflow's own SystemMetricsMonitor is not used, because it needs a connection to a store.
"""

import logging
import math
import time
from contextlib import suppress
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

from .journal import Journal

SAMPLE_SECONDS = 10.0  # between two samples

log = logging.getLogger(__name__)


class SystemMetrics:
    """The system metrics of a training."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._monitors: list[Any] = []
        self._due = time.monotonic() + SAMPLE_SECONDS

    def sample(self) -> None:
        """Take a sample every SAMPLE_SECONDS; stop after the first failure."""
        try:
            self._monitors = self._monitors or _monitors()
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + SAMPLE_SECONDS
                self._take()
        except Exception as error:  # a full disk also ends training, when it next writes to the journal
            log.warning("system metrics are no longer sampled: %s", error)
            self._due = math.inf

    def _take(self) -> None:
        metrics: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            metrics |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        self._journal.log(metrics, max(map(self._journal.next_step, metrics), default=0))


def _monitors() -> list[Any]:
    kinds: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
    monitors = [kind() for kind in kinds]
    gpus: list[Any] = [GPUMonitor, ROCMMonitor]
    for gpu in gpus:
        with suppress(Exception):  # there is no such GPU, or its library is missing
            monitors.append(gpu())
    return monitors
