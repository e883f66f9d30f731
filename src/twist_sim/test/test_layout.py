"""A trial is drawn from (task, seed, trial) and nothing else, and never starts solved."""

import dataclasses
import math

import numpy as np
import pytest

from twist_sim.layout import draw_dynamics, draw_layout, trial_generator
from twist_sim.task_card import TaskCardError, load_task_card

CARD = load_task_card("block_push")
GOLDEN_OBJECT = (0.5650258, -0.0797823, 0.02)
GOLDEN_GOAL = (0.4060186, 0.0818634, 0.0)
GOLDEN_MASS = 0.1460154


def test_layouts_repeat_and_do_not_depend_on_what_was_drawn_before():
    forwards = [draw_layout(CARD, 3, trial) for trial in range(20)]
    np.random.default_rng(0)  # a foreign generator must not matter
    backwards = [draw_layout(CARD, 3, trial) for trial in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_published_layouts_stay_what_they_were():
    # Evaluations are repeated by (task, seed, trial) across releases: these numbers are a promise.
    layout = draw_layout(CARD, 0, 0)
    assert layout.object_position == pytest.approx(GOLDEN_OBJECT, abs=1e-6)
    assert layout.goal_position == pytest.approx(GOLDEN_GOAL, abs=1e-6)
    assert draw_dynamics(CARD, 0, 0).mass == pytest.approx(GOLDEN_MASS, abs=1e-6)


def test_every_layout_lies_in_its_regions_and_is_unsolved():
    regions = CARD.layout
    for trial in range(1000):
        layout = draw_layout(CARD, 1, trial)
        for position, lower, upper in (
            (layout.object_position, regions.object_lower, regions.object_upper),
            (layout.goal_position, regions.goal_lower, regions.goal_upper),
        ):
            assert lower[0] <= position[0] <= upper[0]
            assert lower[1] <= position[1] <= upper[1]
        distance = math.dist(layout.object_position[:2], layout.goal_position[:2])
        assert 0.08 <= distance <= 0.25
        assert layout.object_position[2] == CARD.object.size / 2


def test_seed_trial_and_task_each_change_the_layout():
    other_task = dataclasses.replace(CARD, task="other")
    layouts = {draw_layout(CARD, 0, 0), draw_layout(CARD, 1, 0), draw_layout(CARD, 0, 1)}
    layouts.add(draw_layout(other_task, 0, 0))
    assert len(layouts) == 4


def test_the_layout_does_not_depend_on_the_dynamics_ranges():
    heavier = dataclasses.replace(CARD, object=dataclasses.replace(CARD.object, mass=(1.0, 2.0)))
    assert draw_layout(heavier, 0, 5) == draw_layout(CARD, 0, 5)
    assert draw_dynamics(heavier, 0, 5) != draw_dynamics(CARD, 0, 5)


def test_mass_and_friction_cover_their_ranges():
    drawn = [draw_dynamics(CARD, 0, trial) for trial in range(300)]
    for values, (low, high) in (
        ([d.mass for d in drawn], CARD.object.mass),
        ([d.friction for d in drawn], CARD.object.friction),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_negative_numbers_and_impossible_regions_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        trial_generator("block_push", -1, 0, "layout")
    farthest = CARD.layout.reachable_distances()[1]
    corners = dataclasses.replace(CARD.layout, distance=(farthest - 1e-6, 1.0))
    with pytest.raises(TaskCardError, match="widen the sampling regions"):
        draw_layout(dataclasses.replace(CARD, layout=corners), 0, 0)


def test_no_start_distance_is_outside_of_what_the_regions_allow():
    nearest, farthest = CARD.layout.reachable_distances()
    layouts = [draw_layout(CARD, 5, trial) for trial in range(300)]
    distances = [math.dist(x.object_position[:2], x.goal_position[:2]) for x in layouts]
    assert nearest <= min(distances) < max(distances) <= farthest
    regions = CARD.layout
    far = dataclasses.replace(regions, object_upper=regions.object_lower, goal_lower=(0.6, 0.1))
    far = dataclasses.replace(far, goal_upper=(0.6, 0.1))
    only = math.dist(regions.object_lower, (0.6, 0.1))
    assert far.reachable_distances() == pytest.approx((only, only))
