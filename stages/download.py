"""Make the corpus from local files, a data set of the Hugging Face Hub, or Python packages (wheels)."""

from pipeline.data import corpus
from pipeline.data.engine import open_engine
from pipeline.plumbing.command import StageCall, run_stage
from pipeline.plumbing.params import DownloadSettings


def report(line: str) -> None:
    print(line, flush=True)


def download(call: StageCall) -> None:
    """Read, clean and split the sentence pairs. Downloads are kept in `build`, for all experiments."""
    settings = DownloadSettings(**call.stamp["params"]["download"])
    raw = corpus.read(settings, cache=call.output.parent.parent, report=report)
    with call.publish() as draft, open_engine() as engine:
        facts = corpus.build(raw, settings, draft.directory, engine, report)
        draft.facts = facts
    for name, size in facts.cut.items():
        print(f"download: {name}: {size:,} pairs cut from train; set download.{name}_pairs for another number")
    kept = ", ".join(f"{name} {pairs:,}" for name, pairs in facts.splits.items())
    print(f"download: {settings.source_language} to {settings.target_language}, pairs: {kept}")
    if dropped := ", ".join(f"{rule} {count:,}" for rule, count in facts.dropped.items() if count):
        print(f"download: pairs dropped: {dropped}")


if __name__ == "__main__":
    run_stage(download)
