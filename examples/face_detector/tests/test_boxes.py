"""The geometry of boxes, on numbers one can check in the head."""

import pytest
import torch
from face_detector.boxes import clipped, overlap, shifted, squared, suppress

BIG = torch.tensor([0.0, 0.0, 10.0, 10.0])
INSIDE = torch.tensor([0.0, 0.0, 5.0, 10.0])
APART = torch.tensor([20.0, 20.0, 30.0, 30.0])
BOXES = torch.stack([INSIDE, BIG, APART])


def test_each_side_is_shifted_by_a_share_of_its_own_axis():
    boxes = shifted(torch.tensor([[0.0, 0.0, 10.0, 100.0]]), torch.tensor([[0.1, 0.1, -0.1, 0.0]]))
    assert boxes.tolist() == [[1.0, 10.0, 9.0, 100.0]]


def test_a_square_keeps_the_centre_and_the_longer_side():
    assert squared(INSIDE[None]).tolist() == [[-2.5, 0.0, 7.5, 10.0]]


def test_clipping_knows_width_from_height_and_drops_what_is_outside():
    boxes = torch.tensor([[-2.0, -3.0, 99.0, 99.0], [50.0, 0.0, 60.0, 9.0]])
    assert clipped(boxes, height=20, width=40).tolist() == [[0.0, 0.0, 40.0, 20.0]]


def test_overlap_of_the_union_or_of_the_smaller_one():
    assert overlap(BIG, BOXES).tolist() == [0.5, 1.0, 0.0]
    assert overlap(BIG, BOXES, nested=True).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("limit", "nested", "kept"),
    [(0.5, False, [2, 1, 0]), (0.49, False, [2, 1]), (0.5, True, [2, 1])],
)
def test_the_best_of_overlapping_boxes_stays(limit, nested, kept):
    scores = torch.tensor([0.7, 0.8, 0.9])
    assert suppress(BOXES, scores, limit, nested=nested).tolist() == kept


def test_nothing_is_left_of_nothing():
    assert suppress(torch.empty(0, 4), torch.empty(0), 0.5).tolist() == []
