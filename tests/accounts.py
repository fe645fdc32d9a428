"""A server with accounts for three people with different rights: the admin, a trainer and a reviewer."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.server.auth.client import AuthServiceClient

from tests.mlflow_server import Server

ADMIN, TRAINER, REVIEWER = "admin", "trainer", "reviewer"


class Team:
    """The server and the passwords of its accounts. Every account may read everything; other rights must be granted."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.passwords = {name: secrets.token_urlsafe(12) for name in (ADMIN, TRAINER, REVIEWER)}
        secret = {"MLFLOW_AUTH_ADMIN_PASSWORD": self.passwords[ADMIN]}
        self.server = Server(directory, AUTH="1", **secret | settings)
        self.accounts = AuthServiceClient(self.server.uri)

    def start(self) -> None:
        """Start the server for the first time and create the accounts."""
        self.server.start()
        with self.acting(ADMIN):
            for name in (TRAINER, REVIEWER):
                self.accounts.create_user(name, self.passwords[name])

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment variables that make a process act as this person."""
        return {
            "MLFLOW_TRACKING_URI": self.server.uri,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": self.passwords[name],
        }

    @contextmanager
    def acting(self, name: str) -> Iterator[None]:
        """Let this process act as this person. MLflow reads the environment at every request."""
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.environment(name).items():
                patch.setitem(os.environ, variable, value)
            yield

    def grant_experiment(self, name: str, experiment_id: str, permission: str = "EDIT") -> None:
        with self.acting(ADMIN):
            self.accounts.grant_user_permission(name, "experiment", experiment_id, permission)

    def grant_model(self, name: str, model: str, permission: str = "EDIT") -> None:
        """Grant a right on a registered model: on its versions, their tags and its aliases."""
        with self.acting(ADMIN):
            self.accounts.grant_user_permission(name, "registered_model", model, permission)
