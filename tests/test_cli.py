"""The command: verbs, help, and the words of mistakes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from segkit import config, helping
from segkit.cli import VERBS, main


def segkit(*arguments, cwd=None):
    command = [sys.executable, "-m", "segkit.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_help_lists_every_verb_without_tensorflow_or_hydra():
    code = (
        "import sys; from segkit.cli import main; code = main(['--help'])\n"
        "print([m for m in ('tensorflow', 'hydra', 'numpy') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_names_groups_choices_and_keys(verb, tmp_path):
    done = segkit(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert f"segkit {verb} [key=value ...]" in done.stdout
    assert ("data: article, folder, graded, joined, overlapping, scenes" in done.stdout) == (
        verb == "train"
    )
    assert all(f"\n{key}:" in done.stdout for key in config.compose(verb).keys())
    assert not list(tmp_path.iterdir())


def test_help_of_a_verb_does_not_wait_for_tensorflow(tmp_path):
    """Side by side: importing TensorFlow alone takes longer than the whole answer."""
    start = time.perf_counter()
    segkit("train", "--help", cwd=tmp_path)
    answer = time.perf_counter() - start
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tensorflow"], capture_output=True, check=True)
    assert answer < time.perf_counter() - start


def test_no_verb_and_wrong_verb():
    assert segkit().returncode == 2
    done = segkit("trian")
    assert done.returncode == 2
    assert "no verb 'trian'. Did you mean 'train'? The verbs: train, " in done.stderr


@pytest.mark.parametrize(
    "override, words",
    [
        (
            "trainer.epoch=3",
            "there is no key 'trainer.epoch'. Did you mean 'epochs'? The keys there: ",
        ),
        (
            "trainr.epochs=3",
            "there is no key 'trainr'. Did you mean 'trainer'? The keys there: augment",
        ),
        ("loss=tverski", "no choice 'tverski' for loss. Did you mean 'tversky'? The choices: bce_"),
        (
            "patches.size=8",
            "no key 'patches.size'. It belongs to patches=centred and patches=random",
        ),
        ("data.root=here", "no key 'data.root'. It belongs to data=folder. The keys there"),
        ("epochs=3", "no key 'epochs'. Did you mean trainer.epochs? The keys there"),
        ("some/where", "cannot read 'some/where'. What is changed is written KEY=VALUE."),
        ("data=folder", "data.root has no value yet. Give it one: data.root=VALUE."),
        ("trainer.epochs=0", "trainer.epochs must be a whole number from 1 on. Received: 0."),
        (
            "trainer.epochs=many",
            "trainer.epochs must be a whole number from 1 on. Received: 'many'.",
        ),
        ("seed=-1", "seed must be a whole number from 0 on. Received: -1."),
        ("trainer.precision=half", "trainer.precision must be auto, float32 or bfloat16."),
        ("model._target_=os.system", "Received: 'os.system'. Anything else could run any code"),
        ("data.missing.rate=2", "rate"),
        ("data.sizes.val=0", "val has none"),
        ("data.missing.rate=1.0", "There is nothing to learn: no class but the background has"),
        ("output=a b=c", "cannot read 'output=a b=c'. Quote the value twice: 'output=\"a b=c\"'."),
        ("output=/dev/null/x", "/dev/null/x: Not a directory. Name another place"),
        ("callbacks.best_model.monitor=val_iou_elipse", "There is no 'val_iou_elipse' in the log."),
    ],
)
def test_mistakes_are_explained_without_a_traceback(override, words, tmp_path, capfd, hydra_off):
    scenes = ["data.sizes.train=8", "data.sizes.val=2", "data.height=16"]
    small = [] if override == "data=folder" else scenes
    quick = ["trainer.epochs=1", "model.filters=2", "model.depth=1"]
    place = [] if override.startswith("output") else [f"output={tmp_path / 'run'}"]
    assert main(["train", *place, *small, *quick, override]) == 1
    shown = capfd.readouterr().err
    assert words in shown and "segkit train: " in shown
    assert "Traceback" not in shown and "Error executing job" not in shown


def test_a_full_disk_is_explained(monkeypatch, tmp_path, capfd, hydra_off):
    def full(config):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("segkit.synthesis.run", full)
    assert main(["synthesize", f"output={tmp_path / 'scenes'}"]) == 1
    words = "segkit synthesize: No space left on device. Free some space, or name another place."
    assert words in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["check", "weights"])
def test_verbs_on_data_want_to_know_where_they_are(verb, tmp_path):
    done = segkit(verb, cwd=tmp_path)
    assert done.returncode == 1 and "data.root has no value yet" in done.stderr
    done = segkit(verb, "data.root=nowhere", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "There is no folder nowhere." in done.stdout + done.stderr


def test_a_mistake_from_outside(tmp_path):
    done = segkit("train", "loss=dice", cwd=tmp_path)
    assert done.returncode == 1 and "no choice 'dice' for loss" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_help_explains_keys_with_the_comments_of_the_files(capsys):
    assert main(["train", "--help", "callbacks=mlflow", "trainer.epochs=99", "data=article"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "# data=article: Scenes in the layout of the 2018 article: one ellipse, one rectangle",
        "  epochs: 99",
        "  batch_size: 8  # images; small batches take more steps, and learn more per epoch",
        "  height: 64  # pixels",  # of the choice that article is built on
        "    patience: 15  # epochs without a better one",
        "    experiment: segkit  # made if it is not there",
        "seed: 0  # of everything random",
    ):
        assert f"\n{line}" in shown
    main(["weights", "-h", "data=joined"])
    shown = capsys.readouterr().out
    assert "# data=joined: Several data sets" in shown and "size: null  # this and what" in shown
    assert shown.endswith("--hydra-help  everything else that Hydra can do\n")


@pytest.mark.parametrize(
    "text, found",
    [
        ("# the file\na: 1  # one", {("a",): "one"}),
        ("a:  # group\n  b: '#'  # hash\nc: [1]", {("a",): "group", ("a", "b"): "hash"}),
        ("a: 1\n# of b,\n# in two lines\nb: 2", {("b",): "of b, in two lines"}),
        ("a: 1\n# of nothing\n\nb: 2", {}),
        ("url: s3://x#y\nb:\n- c: 1  # of a list", {}),
    ],
)
def test_comments_of_a_yaml_file(text, found):
    assert helping.comments(text) == found


def test_help_explains_a_wrong_choice(capsys):
    assert main(["train", "--help", "loss=dice"]) == 1
    assert "there is no choice 'dice' for loss." in capsys.readouterr().err


def ends_with(error):
    def run(config):
        if isinstance(error, BaseException):
            raise error
        error(config)

    return run


@pytest.mark.parametrize(
    "error, code, words",
    [
        (SystemExit(143), 143, "segkit train: stopped by SIGTERM\n"),
        (lambda _: os.kill(os.getpid(), signal.SIGTERM), 143, "segkit train: stopped by SIGTERM\n"),
        (KeyboardInterrupt(), 130, "segkit train: stopped by Ctrl-C\n"),
        (ValueError("no images"), 1, "segkit train: no images\n"),
    ],
)
def test_how_a_run_ends_is_told_in_one_line_and_a_code(
    error, code, words, tmp_path, monkeypatch, capfd, hydra_off
):
    """Also before training has begun, which leaves no folder behind."""
    monkeypatch.setattr("segkit.training.run", ends_with(error))
    before = signal.getsignal(signal.SIGTERM)
    capfd.readouterr()  # the module was imported just now, without the command's precautions
    assert main(["train", f"output={tmp_path / 'run'}"]) == code
    assert capfd.readouterr().err == words
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exit_of_another_code_is_left_alone(tmp_path, monkeypatch, hydra_off):
    monkeypatch.setattr("segkit.training.run", ends_with(SystemExit(7)))
    with pytest.raises(SystemExit) as stop:
        main(["train", f"output={tmp_path / 'run'}"])
    assert stop.value.code == 7


@pytest.mark.parametrize(
    "made, error",
    [
        ([], FileExistsError("Another run writes into it.")),
        (["config.yaml"], ValueError("NaN")),
        (["notes.txt"], ValueError("NaN")),
    ],
)
def test_a_folder_with_more_in_it_than_a_log_stays(made, error, tmp_path, monkeypatch, hydra_off):
    def run(config):
        for name in made:
            (tmp_path / "run" / name).touch()
        raise error

    monkeypatch.setattr("segkit.training.run", run)
    assert main(["train", f"output={tmp_path / 'run'}"]) == 1
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"train.log", *made}


def test_a_folder_that_was_there_stays(tmp_path, monkeypatch, hydra_off):
    monkeypatch.setattr("segkit.training.run", ends_with(ValueError("no images")))
    assert main(["train", f"output={tmp_path}"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["train.log"]


@pytest.mark.skipif(not shutil.which("script"), reason="needs the command script")
def test_a_terminal_says_what_is_waited_for_and_nothing_of_tensorflow(tmp_path):
    """On a terminal of its own: TensorFlow writes past Python, and knows no log level at first."""
    scenes = "data.sizes.train=8 data.sizes.val=2 data.height=16 data.width=16"
    quick = "trainer.epochs=1 model.filters=2 model.depth=1 trainer.gallery=0"
    command = f"{sys.executable} -m segkit.cli train output={tmp_path / 'run'} {scenes} {quick}"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stdout)
    for words in ("starting TensorFlow", "compiling the first step", "scoring val", "epoch 1/1  "):
        assert words in shown
    odd = [
        line
        for line in re.split(r"[\r\n]+", shown)
        if re.search(r"oneDNN|cuda|XLA|TF_|WARNING|I0000|E0000|W0000|rebuild Tensor", line)
    ]
    assert odd == []


@pytest.mark.parametrize(
    "name", ["plain", "loss=a,seed=0", "it's", 'a "b"', "back\\slash", "end\\"]
)
def test_folders_to_compare_may_have_any_name(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    seen = []
    monkeypatch.setattr("segkit.cli._run", lambda verb, overrides: seen.append(overrides))
    main(["compare", str(folder), "level=0.9", "nowhere"])
    assert list(config.compose("compare", seen[0]).runs) == [str(folder), "nowhere"]
    assert seen[0][0] == "level=0.9"


def test_a_group_that_was_not_chosen_is_offered(capsys, hydra_off):
    assert main(["evaluate", "run=x", "data.root=y"]) == 1
    assert "no key 'data'. Choose one first: data=article, folder" in capsys.readouterr().err
    assert main(["evaluate", "data.root=y"]) == 1  # run is missing, too
    assert "Choose one first: data=" in capsys.readouterr().err
    assert main(["evaluate", "roots=y"]) == 1
    assert "there is no key 'roots'" in capsys.readouterr().err
