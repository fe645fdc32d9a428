"""Return the addresses of MLflow's pages about an experiment, a registered model, a version, a run or an artifact."""

from dataclasses import dataclass
from urllib.parse import quote

from ..plumbing.tracking.store import is_server, without_password

LOCAL = "http://127.0.0.1:5000"  # where `make ui` shows a store that has no server
# Without this MLflow opens with its pages for agents and prompts, which have no list of models.
WORKFLOW = "?workflowType=machine_learning"


@dataclass(frozen=True)
class Pages:
    """The pages of an MLflow server, or those that `make ui` serves."""

    tracking_uri: str

    @property
    def is_served(self) -> bool:
        """Whether the pages can be opened now, without `make ui`."""
        return is_server(self.tracking_uri)

    def experiment(self, experiment_id: str) -> str:
        """Return the address of the list of an experiment's runs."""
        return self._at(f"experiments/{experiment_id}/runs{WORKFLOW}")

    def model(self, name: str) -> str:
        """Return the address of a registered model's page."""
        return self._at(f"models/{quote(name, safe='', errors='replace')}{WORKFLOW}")

    def version(self, name: str, number: int | str) -> str:
        """Return the address of a model version's page."""
        return self._at(version_path(name, number))

    def run(self, experiment_id: str, run_id: str, artifact: str = "") -> str:
        """Return the address of a run's page, or of one of its artifacts."""
        return self._at(run_path(experiment_id, run_id, artifact))

    def _at(self, path: str) -> str:
        base = without_password(self.tracking_uri) if self.is_served else LOCAL
        return f"{base.rstrip('/')}/#/{path}"


def run_path(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Return the path of a run's page, or of one of its artifacts, after the `#/` of an address."""
    return f"experiments/{experiment_id}/runs/{run_id}{f'/artifacts/{artifact}' if artifact else ''}{WORKFLOW}"


def version_path(name: str, number: int | str) -> str:
    """Return the path of a model version's page, after the `#/` of an address."""
    return f"models/{quote(name, safe='', errors='replace')}/versions/{number}{WORKFLOW}"
