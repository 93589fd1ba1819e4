"""GenEval's rules, each on hand-built detections."""

from __future__ import annotations

from typing import Any

import pytest

from advantageflow.errors import DataError
from advantageflow.rewards.geneval.scoring import Detection, GenEvalScore, colors_needed, relations, score, select
from advantageflow.rewards.geneval.spec import CLASSES, COLORS, check_spec

Found = dict[str, list[Detection]]

DOG = {"class": "dog", "count": 1}
BLACK_DOG = {**DOG, "color": "black"}
CAT = {"class": "cat", "count": 1}
CAT_LEFT_OF_DOG = {**CAT, "position": ["left of", 0]}
TWO_DOGS = {"class": "dog", "count": 2}


def spec(*include: dict[str, Any], tag: str = "two_object", exclude: list[dict[str, Any]] | None = None) -> Any:
    made: dict[str, Any] = {"tag": tag, "include": list(include)}
    return made if exclude is None else made | {"exclude": exclude}


def at(name: str, sure: float = 0.95, x: float = 50, y: float = 50, color: str | None = None) -> Detection:
    return Detection(CLASSES.index(name), sure, (x - 5, y - 5, x + 5, y + 5), color=color)


def verdict(wanted: dict[str, Any], *detections: Detection, peers: bool = False) -> GenEvalScore:
    check_spec(wanted)
    return score(wanted, select(detections, wanted["tag"]), peer_compatible=peers)


# Which detections count


@pytest.mark.parametrize(("tag", "threshold"), [("two_object", 0.3), ("colors", 0.3), ("counting", 0.9)])
def test_a_detection_counts_if_it_is_surer_than_the_threshold_of_the_task(tag: str, threshold: float) -> None:
    assert select([at("dog", threshold)], tag) == {}
    assert list(select([at("dog", threshold + 1e-6)], tag)) == ["dog"]


def test_at_most_the_16_surest_of_a_class_count_surest_first() -> None:
    dogs = [at("dog", 0.31 + number / 100) for number in range(20)]
    found = select([*dogs, at("cat", 0.5)], "position")
    assert [one.score for one in found["dog"]] == sorted((one.score for one in dogs), reverse=True)[:16]
    assert len(found["cat"]) == 1


def test_overlapping_detections_of_one_object_all_count() -> None:
    assert len(select([at("dog", 0.9), at("dog", 0.8)], "colors")["dog"]) == 2


def test_classes_are_found_by_index_whatever_the_detector_calls_them() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 80
    # 64, 65, 66 are COCO's mouse, remote and keyboard, which GenEval renames.
    found = select([Detection(index, 0.9, (0, 0, 1, 1)) for index in (0, 64, 65, 66, 79)], "colors")
    assert list(found) == ["person", "computer mouse", "tv remote", "computer keyboard", "toothbrush"]


# Objects and counts


@pytest.mark.parametrize(
    ("number", "correct", "strict", "soft"),
    [(0, 0, 0, 0), (1, 0, 0, 0.5), (2, 1, 1, 1), (3, 1, 0, 0.5), (4, 1, 0, 0), (9, 1, 0, 0)],
)
def test_correct_needs_enough_objects_and_strict_the_exact_number(
    number: int, correct: float, strict: float, soft: float
) -> None:
    got = verdict(spec(TWO_DOGS), *[at("dog")] * number)
    assert (got.correct, got.strict, got.soft) == (correct, strict, soft)
    assert bool(got.failed) == (not correct)
    assert bool(got.failed_strict) == (not strict)


def test_the_soft_score_is_the_mean_over_objects_and_others_than_those_named_are_free() -> None:
    got = verdict(spec(DOG, CAT), at("dog"), at("zebra"))
    assert (got.correct, got.strict, got.soft) == (0, 0, 0.5)
    assert got.failed == ("expected at least 1 cat, found 0",)
    assert verdict(spec(DOG, CAT), at("dog"), at("cat"), at("zebra")) == GenEvalScore(1.0, 1.0, 1.0, (), ())


def test_peers_do_not_clamp_what_too_many_objects_cost() -> None:
    assert verdict(spec(DOG), *[at("dog")] * 16, peers=True).soft == -14
    assert verdict(spec(DOG), *[at("dog")] * 30, peers=True).soft == -14  # 16 is all that counts
    assert verdict(spec(DOG), *[at("dog")] * 16).soft == 0


# Exclude


@pytest.mark.parametrize(("number", "correct"), [(2, 1), (3, 0), (4, 0)])
def test_an_excluded_number_of_objects_fails_correct_and_nothing_else(number: int, correct: float) -> None:
    wanted = spec(TWO_DOGS, tag="counting", exclude=[{"class": "dog", "count": 3}])
    got = verdict(wanted, *[at("dog")] * number)
    assert got.correct == correct
    assert got.failed == (() if correct else (f"expected fewer than 3 dog, found {number}",))


def test_the_rewards_of_rl_ignore_exclude() -> None:
    got = verdict(spec(DOG, exclude=[{"class": "cat", "count": 1}]), at("dog"), at("cat"))
    assert (got.correct, got.strict, got.soft) == (0, 1, 1)


# Colours


def test_a_wrong_colour_fails_and_is_half_of_the_soft_score() -> None:
    got = verdict(spec(BLACK_DOG), at("dog", color="brown"))
    assert (got.correct, got.strict, got.soft) == (0, 0, 0.5)
    assert got.failed == ("expected at least 1 black dog, found 0 (brown)",)


def test_correct_looks_at_the_colours_of_the_surest_objects_alone() -> None:
    dogs = [at("dog", 0.9, color="black"), at("dog", 0.8, color="brown")]
    got = verdict(spec(BLACK_DOG), *dogs)
    assert (got.correct, got.strict, got.soft) == (1, 0, 0)  # a wrong number makes the colour's part 0 as well
    swapped = [at("dog", 0.9, color="brown"), at("dog", 0.8, color="black")]
    assert verdict(spec(BLACK_DOG), *swapped).correct == 0


def test_some_of_the_colours_right_is_a_share() -> None:
    wanted = spec({**TWO_DOGS, "color": "black"})
    got = verdict(wanted, at("dog", color="black"), at("dog", color="white"))
    assert (got.correct, got.strict, got.soft) == (0, 0, 0.75)
    assert verdict(wanted, *[at("dog", color="black")] * 2).soft == 1


def test_only_as_many_colours_are_needed_as_decide() -> None:
    wanted = spec(BLACK_DOG, {**CAT, "count": 2, "color": "red"}, {"class": "bus", "count": 1})
    found = {"dog": [at("dog")] * 3, "cat": [at("cat")], "bus": [at("bus")]}
    assert colors_needed(wanted, found) == {"dog": 1}  # too few cats, and nobody asks for the bus's colour


def test_two_items_of_one_class_need_as_many_colours_as_the_larger() -> None:
    wanted = spec(BLACK_DOG, {**TWO_DOGS, "color": "red"})
    assert colors_needed(wanted, {"dog": [at("dog")] * 3}) == {"dog": 2}


def test_a_colour_that_decides_and_is_not_there_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="has none"):
        verdict(spec(BLACK_DOG), at("dog"))


# Positions


@pytest.mark.parametrize(
    ("x", "y", "holding"),
    [
        pytest.param(30, 0, {"right of"}, id="right"),
        pytest.param(-30, 0, {"left of"}, id="left"),
        pytest.param(0, -30, {"above"}, id="above, y growing downwards"),
        pytest.param(0, 30, {"below"}, id="below"),
        pytest.param(30, 30, {"right of", "below"}, id="a diagonal is both"),
        pytest.param(30, 10, {"right of"}, id="(10 - 2) / |offset| is below a half"),
        pytest.param(0, 0, set(), id="the same place"),
        pytest.param(2, 2, set(), id="within the margin of both axes"),
        # 20 pixels of extents make a margin of 2: (4 - 2) / 4 is a half, and has to be exceeded.
        pytest.param(4, 0, set(), id="a component of just a half"),
        pytest.param(4.1, 0, {"right of"}, id="a component of more than a half"),
    ],
)
def test_relations_follow_the_offset_less_a_margin_over_the_whole_offset(x: float, y: float, holding: set[str]) -> None:
    assert relations(at("dog", x=50 + x, y=50 + y).box, at("cat").box) == holding


def test_the_margin_grows_with_the_boxes() -> None:
    wide, tall = (0.0, 0.0, 100.0, 10.0), (26.0, 0.0, 126.0, 10.0)
    assert relations(tall, wide) == set()  # 26 - 20 is less than half of 26
    assert relations((26.0, 0.0, 36.0, 10.0), (0.0, 0.0, 10.0, 10.0)) == {"right of"}


def test_a_relation_that_holds_and_one_that_does_not() -> None:
    right = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog", x=80), at("cat", x=20))
    assert (right.correct, right.strict, right.soft) == (1, 1, 1)
    wrong = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog", x=20), at("cat", x=80))
    assert (wrong.correct, wrong.strict) == (0, 0)
    assert wrong.soft == pytest.approx(2 / 3)
    assert wrong.failed == ("expected cat left of dog, it is right of",)


def test_peers_score_a_wrong_relation_three_quarters() -> None:
    peers = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog", x=20), at("cat", x=80), peers=True)
    assert (peers.strict, peers.soft) == (0, 0.75)
    fine = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog", x=80), at("cat", x=20), peers=True)
    assert fine.soft == 1


@pytest.mark.parametrize("peers", [False, True])
def test_a_relation_to_an_object_that_is_not_as_asked_fails(peers: bool) -> None:
    got = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("cat"), peers=peers)
    assert (got.correct, got.strict) == (0, 0)
    assert got.soft == pytest.approx(1 / 3)  # no dog 0, one cat 1, its relation 0
    assert "nothing is as asked that cat could be left of" in got.failed


def test_a_relation_of_an_object_that_is_missing_is_one_more_part_of_zero() -> None:
    assert verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog")).soft == pytest.approx(1 / 3)


def test_every_pair_must_hold_for_correct_among_the_surest_for_strict_among_all() -> None:
    two_left = {"class": "cat", "count": 2, "position": ["left of", 0]}
    cats = [at("cat", x=20), at("cat", x=90)]
    assert verdict(spec(DOG, two_left), at("dog", x=60), *cats).failed[0].startswith("expected cat left of dog")
    # One cat is asked for; the surer of the two is well placed.
    got = verdict(spec(DOG, CAT_LEFT_OF_DOG), at("dog", x=60), at("cat", 0.9, x=20), at("cat", 0.8, x=90))
    assert (got.correct, got.strict) == (1, 0)


def test_an_object_of_the_wrong_colour_is_no_target() -> None:
    wanted = spec(BLACK_DOG, CAT_LEFT_OF_DOG)
    got = verdict(wanted, at("dog", x=80, color="white"), at("cat", x=20))
    assert (got.correct, got.strict, got.soft) == (0, 0, 0.5)  # parts: dog 1, black 0, cat 1, left of 0


# Specs


def test_every_class_and_colour_can_be_asked_for() -> None:
    for name in CLASSES:
        check_spec(spec({"class": name, "count": 1, "color": COLORS[0]}, tag="colors"))


@pytest.mark.parametrize(
    ("bad", "place", "remedy"),
    [
        (spec({"class": "keyboard", "count": 1}), "include[0].class", "did you mean 'computer keyboard'"),
        (spec({"class": 7, "count": 1}), "include[0].class", "classes"),
        (spec({**DOG, "color": "gray"}), "include[0].color", "red"),
        (spec(DOG, {**CAT, "position": ["left", 0]}), "include[1].position[0]", "did you mean 'left of'"),
        (spec({**CAT, "position": ["above", 1]}, DOG), "include[0].position[1]", "first"),
        (spec(DOG, {**CAT, "position": ["above", 1]}), "include[1].position[1]", ""),
        (spec({**DOG, "count": 17}), "include[0].count", "16"),
        (spec({**DOG, "count": 0}), "include[0]", "count"),
        (spec(DOG, exclude=[{"class": "doge", "count": 1}]), "exclude[0].class", "did you mean 'dog'"),
        ({**spec(DOG), "exclude": "dog"}, "exclude", ""),
        (spec(), "", "include"),
        (spec(DOG, tag="count"), "tag", "did you mean 'counting'"),
        ({"include": [DOG]}, "tag", "tasks"),
    ],
)
def test_a_spec_that_cannot_be_met_names_the_field(bad: dict[str, Any], place: str, remedy: str) -> None:
    with pytest.raises(DataError) as caught:
        check_spec(bad)
    assert caught.value.where == place
    assert remedy in caught.value.remedy + caught.value.message
