"""Several rewards in one advantage: GDPO's normalisation, weights, and minima that hold whatever the units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advantageflow.flow.advantages import (
    AdvantageScale,
    Combination,
    Term,
    combined_advantages,
    constrained,
    group_advantages,
    violates,
)

SCALES: tuple[AdvantageScale, ...] = ("group", "global")
WAYS: tuple[Combination, ...] = ("sum", "normalised_sum")
NO_CLIP = 1e6


def tensor(*groups: list[float]) -> Tensor:
    return torch.tensor(groups, dtype=torch.float64)


@st.composite
def terms(draw: st.DrawFn, least: int = 2, minima: bool = False) -> list[Term]:
    """Terms of equal shape, rewards on a grid so that ties and equal groups are common."""
    groups, size = draw(st.integers(1, 5)), draw(st.integers(2, 7))
    made = []
    for _ in range(draw(st.integers(least, 3))):
        spread = draw(st.sampled_from([1, 3, 101]))
        values = draw(st.lists(st.integers(0, spread - 1), min_size=groups * size, max_size=groups * size))
        rewards = torch.tensor(values, dtype=torch.float64).reshape(groups, size) / 100
        minimum = draw(st.integers(0, spread)) / 100 if minima and draw(st.booleans()) else None
        made.append(Term(rewards, draw(st.sampled_from([0.25, 1.0, 3.0])), minimum))
    return made


def rescaled(term: Term, factor: float, shift: float) -> Term:
    minimum = None if term.minimum is None else factor * term.minimum + shift
    return replace(term, rewards=factor * term.rewards + shift, minimum=minimum)


def gdpo(terms: list[Term]) -> np.ndarray:
    """Formulas of the GDPO paper, group by group and sample by sample in numpy."""
    total = np.zeros(terms[0].rewards.shape)
    for term in terms:
        for group, rewards in enumerate(term.rewards.numpy()):
            if rewards.max() - rewards.min() > 1e-12:
                total[group] += term.weight * (rewards - rewards.mean()) / rewards.std()
    spread = total.std()
    return (total - total.mean()) / spread if spread > 1e-12 else np.zeros_like(total)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("combine", WAYS)
@given(terms=terms(minima=True), clip=st.floats(0.1, 5))
def test_advantages_lie_in_minus_one_to_one(
    combine: Combination, scale: AdvantageScale, terms: list[Term], clip: float
) -> None:
    result = combined_advantages(terms, combine=combine, scale=scale, clip=clip)
    assert result.values.isfinite().all()
    assert result.values.abs().max() <= 1
    assert (result.values[result.equal_groups] == 0).all()


@given(terms=terms())
def test_normalised_sum_is_gdpo(terms: list[Term]) -> None:
    values = combined_advantages(terms, combine="normalised_sum", scale="group", clip=NO_CLIP).values * NO_CLIP
    np.testing.assert_allclose(values.numpy(), gdpo(terms), atol=1e-6)


@given(terms=terms())
def test_normalised_sum_has_unit_scale_over_the_batch_however_many_terms(terms: list[Term]) -> None:
    result = combined_advantages(terms, combine="normalised_sum", scale="group", clip=NO_CLIP)
    expected = 0.0 if result.equal_groups.all() else 1.0
    assert (result.values * NO_CLIP).std(correction=0).item() == pytest.approx(expected)


@pytest.mark.parametrize("scale", SCALES)
@given(terms=terms(minima=True), factor=st.floats(1e-2, 1e3), shift=st.floats(-10, 10))
def test_normalised_sum_does_not_change_when_one_reward_is_shifted_and_scaled(
    scale: AdvantageScale, terms: list[Term], factor: float, shift: float
) -> None:
    before = combined_advantages(terms, combine="normalised_sum", scale=scale, clip=2.0)
    after = combined_advantages(
        [rescaled(terms[0], factor, shift), *terms[1:]], combine="normalised_sum", scale=scale, clip=2.0
    )
    torch.testing.assert_close(after.values, before.values, atol=1e-6, rtol=0)


def test_a_plain_sum_lets_the_reward_with_the_larger_units_decide() -> None:
    quality, kilobytes = Term(tensor([0.0, 0.5, 1.0])), Term(tensor([-1.0, -1.5, -1.7]))
    bytes_ = rescaled(kilobytes, 1000, 0)
    assert combined_advantages([quality, kilobytes], combine="sum", scale="group", clip=2.0).values[0].argmax() == 2
    assert combined_advantages([quality, bytes_], combine="sum", scale="group", clip=2.0).values[0].argmax() == 0
    chosen = [
        combined_advantages([quality, size], combine="normalised_sum", scale="group", clip=2.0).values
        for size in (kilobytes, bytes_)
    ]
    torch.testing.assert_close(chosen[0], chosen[1])


def test_normalised_sum_tells_two_rewards_won_from_one_won() -> None:
    """What GDPO is for: of (0, 2) and (0, 1) the group normalisation of the sum makes the same."""
    first, second = Term(tensor([0.0, 1.0], [0.0, 1.0])), Term(tensor([0.0, 1.0], [0.0, 0.0]))
    plain = combined_advantages([first, second], combine="sum", scale="group", clip=2.0).values
    assert torch.equal(plain[0], plain[1])
    decoupled = combined_advantages([first, second], combine="normalised_sum", scale="group", clip=2.0).values
    assert decoupled[0, 1] > 1.5 * decoupled[1, 1] > 0


@pytest.mark.parametrize("combine", WAYS)
@pytest.mark.parametrize("scale", SCALES)
@given(terms=terms(least=1))
def test_one_term_alone_is_the_group_advantage(combine: Combination, scale: AdvantageScale, terms: list[Term]) -> None:
    expected = group_advantages(terms[0].rewards, scale=scale, clip=2.0)
    result = combined_advantages([terms[0]], combine=combine, scale=scale, clip=2.0)
    torch.testing.assert_close(result.values, expected.values)
    assert torch.equal(result.equal_groups, expected.equal_groups)


@pytest.mark.parametrize("combine", WAYS)
@given(terms=terms(minima=True))
def test_only_the_ratio_of_weights_counts(combine: Combination, terms: list[Term]) -> None:
    doubled = [replace(term, weight=2 * term.weight) for term in terms]
    results = [combined_advantages(given, combine=combine, scale="group", clip=2.0) for given in (terms, doubled)]
    torch.testing.assert_close(results[0].values, results[1].values)


@pytest.mark.parametrize("combine", WAYS)
def test_the_heavier_of_two_opposed_rewards_decides(combine: Combination) -> None:
    up, down = tensor([0.0, 0.5, 1.0]), tensor([1.0, 0.5, 0.0])
    for weight, best in ((0.5, 0), (2.0, 2)):
        values = combined_advantages([Term(up, weight), Term(down)], combine=combine, scale="group", clip=2.0).values
        assert values[0].argmax() == best


@pytest.mark.parametrize("combine", WAYS)
def test_rewards_that_cancel_teach_nothing(combine: Combination) -> None:
    rewards = tensor([0.1, 0.7, 0.30000000000000004], [1.3, 1.1, 0.2])
    result = combined_advantages([Term(rewards, 3.0), Term(1 - 3 * rewards)], combine="sum", scale="group", clip=2.0)
    opposed = combined_advantages([Term(rewards), Term(-rewards)], combine=combine, scale="group", clip=2.0)
    assert result.equal_share == opposed.equal_share == 1
    assert result.values.abs().sum() == opposed.values.abs().sum() == 0


@pytest.mark.parametrize("combine", WAYS)
def test_a_group_that_is_equal_in_every_reward_teaches_nothing(combine: Combination) -> None:
    first, second = Term(tensor([0.3, 0.3], [0.0, 1.0])), Term(tensor([5.0, 5.0], [1.0, 1.0]))
    result = combined_advantages([first, second], combine=combine, scale="group", clip=2.0)
    assert result.values[0].tolist() == [0, 0]
    assert result.equal_share == 0.5


@given(terms=terms(least=1, minima=True))
def test_whatever_violates_a_minimum_is_below_all_that_does_not_and_the_rest_stays(terms: list[Term]) -> None:
    total = sum(term.weight * term.rewards for term in terms)
    assert isinstance(total, Tensor)
    wrong, result = violates(terms), constrained(total, terms)
    assert torch.equal(result[~wrong], total[~wrong])
    for values, bad in zip(result, wrong, strict=True):
        if bad.any() and not bad.all():
            assert values[bad].max() < values[~bad].min()


@given(terms=terms(least=1, minima=True), clip=st.floats(0.2, 5))
def test_clipping_never_turns_the_order_of_a_minimum_round(terms: list[Term], clip: float) -> None:
    wrong = violates(terms)
    for combine in WAYS:
        result = combined_advantages(terms, combine=combine, scale="group", clip=clip).values
        for values, bad in zip(result, wrong, strict=True):
            if bad.any() and not bad.all():
                assert values[bad].max() <= values[~bad].min()


def test_violations_rank_by_their_size_whatever_else_an_image_has() -> None:
    quality = Term(tensor([0.9, 0.2, 0.4, 0.6, 0.1]), minimum=0.5)
    other = Term(tensor([0.0, 5.0, 1.0, 1.0, 9.0]))
    for combine in WAYS:
        values = combined_advantages([quality, other], combine=combine, scale="group", clip=NO_CLIP).values[0]
        assert values.argsort(descending=True).tolist()[2:] == [2, 1, 4]


def test_a_group_that_violates_as_a_whole_learns_the_way_back() -> None:
    quality = Term(tensor([0.4, 0.1, 0.3], [0.6, 0.7, 0.8]), minimum=0.5)
    other = Term(tensor([0.0, 9.0, 9.0], [0.0, 0.0, 0.0]))
    values = combined_advantages([quality, other], combine="normalised_sum", scale="group", clip=NO_CLIP).values
    assert values[0].argsort(descending=True).tolist() == [0, 2, 1]
    assert values[1].argsort(descending=True).tolist() == [2, 1, 0]


def test_the_worse_of_two_violations_counts_by_each_reward_s_own_spread() -> None:
    """The second reward's shortfall is larger in its units, but small beside what this reward usually varies."""
    first = Term(tensor([0.0, 1.0, 1.0, 1.0]), minimum=0.9)
    second = Term(tensor([1000.0, 800.0, 1000.0, 0.0]), minimum=900.0)
    values = combined_advantages([first, second], combine="normalised_sum", scale="group", clip=NO_CLIP).values[0]
    assert values[2] > values[1] > max(values[0], values[3])


def test_a_value_at_the_minimum_is_acceptable_and_rounding_does_not_make_it_worse() -> None:
    term = Term(tensor([0.3, 1 - 0.7, 0.1 + 0.2, 0.29]), minimum=0.3)
    assert violates([term])[0].tolist() == [False, False, False, True]
