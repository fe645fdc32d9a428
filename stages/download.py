"""hub, files or wheels -> corpus."""

from pipeline.data import corpus
from pipeline.plumbing.command import StageCall, run_stage
from pipeline.plumbing.params import DownloadSettings


def download(call: StageCall) -> None:
    """Fetch, clean and split; downloads are kept beside the experiments, for all of them."""
    settings = DownloadSettings(**call.stamp["params"]["download"])
    raw = corpus.read(settings, cache=call.output.parent.parent, report=lambda line: print(line, flush=True))
    made = corpus.build(raw, settings)
    with call.publish() as draft:
        corpus.write(made, draft.directory)
        draft.facts = made.facts
    for name, size in made.facts.cut.items():
        print(f"{name}: {size} pairs cut from train; download.{name}_pairs sets another size")
    kept = ", ".join(f"{name} {pairs}" for name, pairs in made.facts.splits.items())
    dropped = ", ".join(f"{rule} {count}" for rule, count in made.facts.dropped.items() if count)
    print(f"{settings.source_language} -> {settings.target_language}: {kept} pairs\ndropped: {dropped}")


if __name__ == "__main__":
    run_stage(download)
