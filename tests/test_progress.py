"""The messages of training about its progress and the time that it will take."""

import pytest

from pipeline.plumbing.progress import Progress, duration

STEP = {"train/loss": 2.5, "train/tokens_per_second": 1234.0}


class Training:
    """Reports every 10 steps, as the trainer does, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, done: int = 0, total: int = 1000) -> None:
        self.now, self.step, self.epoch = 1000.0, done, done // 250
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.progress = Progress(done, total, steps_per_epoch=250)

    def steps(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.now, self.step = self.now + seconds, self.step + 1
            if self.step % 10 == 0:
                self.progress.show(STEP, self.step)

    def validate(self, seconds: float) -> None:
        self.now, self.epoch = self.now + seconds, self.epoch + 1
        metrics = {"dev/loss": 1.25, "dev/bleu": 30.0, "epoch": float(self.epoch)}
        self.progress.show(metrics, self.step)


def test_the_time_is_told_once_twenty_steps_are_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch)
    training.now += 60  # a run is begun in MLflow
    training.steps(10, 2.0)  # memory is made
    assert "left" not in capsys.readouterr().err.replace("1,234 tokens/s\n", "")
    training.steps(10, 0.6)
    assert capsys.readouterr().err == "train: 980 steps left, about 10 min at most, validation not counted\n"
    training.steps(20, 0.6)
    assert capsys.readouterr().err == ""


def test_after_the_first_validation_those_to_come_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch)
    training.steps(250, 0.4)
    capsys.readouterr()
    training.validate(100)
    expected = (
        "train: epoch 1: validation loss 1.250, BLEU 30.0, about 10 min left at most\n"  # 750 x 0.4 s + 3 x 100 s
    )
    assert capsys.readouterr().err == expected
    training.steps(100, 0.4)  # of which the first report comes 10 steps after the validation, not 10 steps and 100 s
    expected = "train: step 340 of 1,000, loss 2.500, 1,234 tokens/s, about 9 min left at most\n"
    assert capsys.readouterr().err.splitlines(keepends=True)[-1] == expected


def test_steps_between_the_last_report_and_a_validation_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch)
    training.steps(255, 1.0)
    training.validate(20)
    assert training.progress.clock.left(255) == pytest.approx(745 + 3 * 20)


def test_the_last_validation_tells_no_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(monkeypatch, done=750)
    training.steps(250, 0.1)
    training.validate(5)
    assert capsys.readouterr().err.endswith("train: epoch 4: validation loss 1.250, BLEU 30.0\n")


def test_a_training_that_goes_on_counts_its_own_steps_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch, done=500)
    training.steps(20, 1.0)
    assert capsys.readouterr().err == "train: 480 steps left, about 8 min at most, validation not counted\n"


def test_an_epoch_with_one_report_tells_no_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch)
    training.steps(15, 1.0)  # one report, from which on it is measured
    training.validate(50)
    assert capsys.readouterr().err == "train: epoch 1: validation loss 1.250, BLEU 30.0\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 1 min"),
        (59.9, "less than 1 min"),
        (60, "about 1 min"),
        (3570, "about 1 h 0 min"),
        (7500, "about 2 h 5 min"),
    ],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
