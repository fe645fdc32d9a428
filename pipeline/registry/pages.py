"""Find the addresses of MLflow's pages: an experiment's runs, a registered model, its newest version, its champion."""

from collections.abc import Iterator
from urllib.parse import quote

from mlflow import MlflowClient

from .versions import EXPERIMENT, all_versions

# Without this MLflow opens with its pages for agents and prompts, which have no list of models.
WORKFLOW = "?workflowType=machine_learning"


def find_pages(client: MlflowClient, server: str, experiment: str, models: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a title and an address for each page of an experiment and its registered models that is there.

    `server` is the address of MLflow's server.
    """
    if found := client.get_experiment_by_name(experiment):
        yield f"runs of {experiment}", f"{server}/#/experiments/{found.experiment_id}/runs{WORKFLOW}"
    for model in models:
        page = f"{server}/#/models/{quote(model, safe='')}"
        versions = all_versions(client, model)
        if not versions:
            continue
        yield f"model {model}", f"{page}{WORKFLOW}"
        newest = next((v for v in reversed(versions) if v.tags.get(EXPERIMENT) == experiment), versions[-1])
        yield f"newest version, {newest.version}", f"{page}/versions/{newest.version}{WORKFLOW}"
        (registered,) = client.search_registered_models(f"name = '{model}'")
        for alias, version in registered.aliases.items():
            yield f"{alias}, version {version}", f"{page}/versions/{version}{WORKFLOW}"
