"""What a search draws: how a space is read, which keys are there, what is refused and how."""

import random

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from segkit.config import compose
from segkit.searching import drawing, names, space

ODD = ["a b", "it's", "end\\", "\\'", "a\\\\'b", "x,y", "${z}", "", "null", "True", "1e-3", "é"]
ODD += ["a=b", "{a}", "[", "'", "\\", "nan", "a:b", "a/b", '"', "1", "inf", "~x", "+1", "#"]


def plain(value):
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return value


def read_back(value):
    return plain(OverridesParser.create().parse_override(f"k={names.text(value)}").value())


def test_any_value_is_read_back_as_it_was():
    rng = random.Random(0)
    ODD_ALSO = ["".join(rng.choices("a'\\\" ,$", k=rng.randint(1, 6))) for _ in range(300)]
    for value in [*ODD, *ODD_ALSO, 1e-5, 1e22, -3, 0.1, None, True, False, [1, "a'b", None, [2]]]:
        back = read_back(value)
        assert (back, type(back)) == (value, type(value))
    assert read_back({"a": [1, {"b": "c'd"}]}) == {"a": [1, {"b": "c'd"}]}


# Numbers and lists


def draws(key, how, count=60):
    entry, study = drawing.parse(key, how), optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0)
    )
    return [entry.draw(study.ask(), key) for _ in range(count)]


@pytest.fixture(autouse=True)
def silent():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


def test_whole_numbers_stay_whole():
    drawn = draws("k", {"low": 2, "high": 4})
    assert set(drawn) == {2, 3, 4} and all(type(value) is int for value in drawn)
    assert set(draws("k", {"low": 1, "high": 8, "step": 3})) == {1, 4, 7}


def test_steps_are_the_decimals_they_look_like():
    assert set(draws("k", {"low": 0.1, "high": 0.55, "step": 0.1})) == {0.1, 0.2, 0.3, 0.4, 0.5}
    entry = drawing.parse("k", {"low": 0.1, "high": 0.55, "step": 0.1})
    assert entry.listed() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_log_is_even_over_orders_of_magnitude():
    drawn = draws("k", {"low": 1e-4, "high": 1e-2, "log": True}, 200)
    assert 80 < sum(value < 1e-3 for value in drawn) < 120
    assert min(drawn) >= 1e-4 and max(drawn) <= 1e-2


def test_what_is_chosen_keeps_its_type():
    values = [None, 1, 0.5, True, "1e-3", [1, 2], {"a": 1}]
    drawn = draws("k", values)
    for value in values:
        assert any(found == value and type(found) is type(value) for found in drawn)


@pytest.mark.parametrize(
    "how, words",
    [
        ([], "k: the list is empty"),
        ([1, 2, 1], "k: 1 stands there more than once"),
        (3, r"drawn from a list, \[A, B\], or between two numbers.*Received: 3.*k=3"),
        ({"low": 5, "high": 3}, "low must not be above high. Received: 5 and 3"),
        ({"low": 5}, "high is not there"),
        ({"low": 5, "hihg": 3}, "there is no 'hihg'"),
        ({"low": "a", "high": 3}, "low must be a number. Received: 'a'"),
        ({"low": 0, "high": float("nan")}, "high must be a number. Received: nan"),
        ({"low": 0, "high": True}, "high must be a number. Received: True"),
        ({"low": 0, "high": 3, "log": True}, "log needs a low above 0. Received: 0"),
        ({"low": 1, "high": 3, "log": 1}, "log is true or false. Received: 1"),
        ({"low": 1, "high": 3, "step": 0}, "a step is above 0"),
        ({"low": 1, "high": 3, "step": 1, "log": True}, "there is none with log"),
    ],
)
def test_what_cannot_be_drawn_is_refused(how, words):
    with pytest.raises(ValueError, match=f"search.space, k: .*{words}|search.space, {words}"):
        drawing.parse("k", how)


# Against the config


def test_whole_ends_of_a_share_mean_all_between():
    made = space.make({"data.missing.rate": {"low": 0, "high": 1}}, [])
    assert not made.entries["data.missing.rate"].whole
    made = space.make({"model.depth": {"low": 2, "high": 3}}, [])
    assert made.entries["model.depth"].whole


def test_a_key_that_is_there_under_some_choices_is_drawn_there():
    losses = ["focal_cross_entropy", "cross_entropy"]
    made = space.make({"loss.gamma": {"low": 0, "high": 3}, "loss": losses}, [])
    assert made.depending == {"loss.gamma"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [made.draw(study.ask()) for _ in range(20)]
    for values in drawn:
        assert ("loss.gamma" in values) == (values["loss"] == "focal_cross_entropy")
    assert {values["loss"] for values in drawn} == set(losses)
    config = compose("train", names.overrides(drawn[0]))
    assert config.loss._target_.rpartition(".")[2].lower() == drawn[0]["loss"].replace("_", "")


def test_a_missing_value_may_be_drawn():
    made = space.make({"data.root": ["a", "b c"]}, ["data=folder"])
    assert made.depending == set()


def test_without_a_space_what_is_typed_is_not_drawn():
    made = space.make(None, ["loss=cross_entropy", "+optimizer.new=1"])
    assert set(made.entries) == set(space.DEFAULT) - {"loss"}


@pytest.mark.parametrize(
    "drawn, typed, words",
    [
        ({"loss.gama": [1]}, [], "loss.gama=1: there is no key 'loss.gama'. The keys there"),
        ({"los": [1]}, [], "there is no key 'los'. Did you mean 'loss'"),
        ({"loss": ["focal"]}, [], "loss=focal: there is no choice 'focal' for loss. The choices"),
        ({"loss": [None, "exclusion"]}, [], "loss: it is a group; give a list of its choices"),
        ({"optimizer": {"low": 1, "high": 2}}, [], "optimizer: it is a group.*adam, adamw"),
        ({"model.depth": {"low": 2.5, "high": 4}}, [], "model.depth: it is a whole number"),
        ({"trainer.resume": {"low": 0, "high": 1}}, [], "trainer.resume: it is true or false"),
        ({"model.depth": [2]}, ["model.depth=3"], "model.depth: it is drawn, and it is given"),
        ({"loss": ["exclusion"]}, ["loss=exclusion"], "loss: it is drawn, and it is given"),
        ({"output": ["a"]}, [], "output: a search sets it itself"),
        ({"search.trials": [1]}, [], "search.trials: a search sets it itself"),
        ({"a b": [1]}, [], "'a b' is no key"),
        ({}, [], "says how keys are drawn"),
        ({"model.depth": [2]}, ["data=folder"], "data.root has no value yet"),
        ({"data": ["scenes", "folder"]}, [], "data=folder: data.root has no value yet"),
    ],
)
def test_what_the_config_refuses_is_refused_in_advance(drawn, typed, words):
    with pytest.raises(ValueError, match=f"search.space.*{words}|^{words}"):
        space.make(drawn, typed)


def test_a_grid_too_large_is_refused():
    made = space.Space({f"k{n}": drawing.Choices(tuple(range(10))) for n in range(5)}, [])
    with pytest.raises(ValueError, match="has 100,000 combinations, and a grid at most 10,000"):
        made.combinations()
