"""Make a trained and evaluated model a version in MLflow's registry, after it has translated in a fresh process."""

from urllib.parse import urlsplit

from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import StageCall, run_stage
from pipeline.plumbing.params import RegisterSettings
from pipeline.plumbing.tracking.store import open_store, without_password
from pipeline.registry.facts import RegisteredFacts
from pipeline.registry.registration import Registration
from pipeline.registry.sandbox.isolation import warn_if_not_isolated


def register(call: StageCall) -> None:
    """Ask the registry what it has, and add what is missing. Running this again changes nothing."""
    settings = RegisterSettings(**call.stamp["params"]["register"])
    corpus, model, evaluation = (call.inputs[name] for name in ("corpus", "model", "evaluation"))
    client = open_store(call.output.parent.parent)
    registration = Registration(client, settings, corpus, model, evaluation)
    registration.complete_run()
    model_id = registration.log_model()
    warn_if_not_isolated()
    registration.try_out(model_id)
    version = registration.version(model_id)
    others = registration.others()
    with call.publish() as draft:
        (draft.directory / "card.md").write_text(str(version.description), encoding="utf-8")
        draft.facts = RegisteredFacts(
            run_id=str(version.run_id),
            model_name=version.name,
            version=int(version.version),
            model_uri=f"models:/{version.name}/{version.version}",
            model_id=model_id,
            store=urlsplit(client.tracking_uri).scheme,
        )
    print(f"registered {version.name} version {version.version} in {without_password(client.tracking_uri)}")
    if others:
        print(
            f"{version.name} also has versions of other experiments ({', '.join(others)}); make review"
            f"{experiment_option(call.experiment)} reviews the newest of {call.experiment}"
        )


if __name__ == "__main__":
    run_stage(register, keep=False)
