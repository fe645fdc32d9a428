"""Read the arguments of the commands on the registry, and open the registry for them.

The arguments are PARAMS_FILE...; VERSION, REASON, FORCE and ALIAS are in the environment, where Make puts them.
"""

import os
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from pipeline.experiments.catalogue import experiment_of
from pipeline.plumbing.command import BUILD
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import Params
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.tracking.record import user_name
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.versions import registered_name
from pipeline.reviews.promotion import Promotion
from pipeline.reviews.registered_models import RegisteredModels
from pipeline.reviews.review_runs import ReviewRuns

LONGEST_REASON = 500  # characters


@dataclass(frozen=True)
class Registry:
    """MLflow's registry, for reviewing and promoting the versions of one experiment."""

    params: Params
    models: RegisteredModels

    @property
    def client(self) -> MlflowClient:
        return self.models.client

    @property
    def production(self) -> str:
        return self.models.production

    @property
    def review_runs(self) -> ReviewRuns:
        return ReviewRuns(self.client, self.production, BUILD)

    def decision(self, reason: str, forced: bool) -> Promotion:
        """Return a decision of the present user about the champion, with this reason."""
        return Promotion(self.models, self.params.review, self.review_runs, user_name(), reason, forced)


def open_registry(uri: str = "") -> Registry:
    """Open the registry for the experiment whose params files are the arguments. `uri` is that of open_store."""
    files = [Path(argument) for argument in sys.argv[1:]]
    params = read_params(files)
    languages = params.download.source_language, params.download.target_language
    candidates = registered_name(params.registration.model_name, *languages)
    production = registered_name(params.review.production_model or params.registration.model_name, *languages)
    return Registry(params, RegisteredModels(open_store(BUILD, uri), candidates, production, asked_experiment()))


def asked_experiment() -> str:
    """Return the name of the experiment whose params files are the arguments."""
    return experiment_of([Path(argument) for argument in sys.argv[1:]])


def asked_version() -> int | None:
    """Return $VERSION; None if it is not set."""
    text = os.environ.get("VERSION", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):  # databases store 32 bits
        raise UserError(f"VERSION: got {text!r}, expected the number of a version, as in: VERSION=3")
    return int(text)


def asked_reason() -> str:
    """Return $REASON, in one line."""
    text = " ".join(os.environ.get("REASON", "").split())
    if not text:
        raise UserError(
            'REASON is missing: say why, for those who read the history later, as in: REASON="better on long texts"'
        )
    if control := [c for c in text if unicodedata.category(c) in ("Cc", "Cs")]:
        raise UserError(f"REASON: got the control character {control[0]!r}, expected text")
    if len(text) > LONGEST_REASON:
        raise UserError(f"REASON: got {len(text)} characters, expected at most {LONGEST_REASON}")
    return text
