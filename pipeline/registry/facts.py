"""Define the type of what the manifest of a registered version records."""

from ..plumbing.facts import Facts


class RegisteredFacts(Facts):
    run_id: str
    model_name: str
    version: int
    model_uri: str
    model_id: str
    store: str  # the scheme of its URL, such as sqlite or http; the rest of the URL depends on the machine
