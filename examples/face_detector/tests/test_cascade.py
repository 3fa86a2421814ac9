"""The detector as a whole: where a face is, how surely, and that there is none elsewhere."""

import pytest
import torch
from face_detector import load_photo, normalise


def test_the_astronaut_has_one_face(model, astronaut):
    (face,) = model(astronaut)
    assert face.score > 0.99
    assert face.box == pytest.approx((180, 62, 266, 174), abs=4)


def test_the_landmarks_are_where_they_belong(model, astronaut):
    (face,) = model(astronaut)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye == pytest.approx((203, 101), abs=4)
    assert right_eye == pytest.approx((247, 104), abs=4)
    assert left_eye.x < nose.x < right_eye.x
    assert left_mouth.x < nose.x < right_mouth.x
    assert max(left_eye.y, right_eye.y) < nose.y < min(left_mouth.y, right_mouth.y)


def test_a_face_moves_with_the_photo(model, astronaut):
    (face,) = model(astronaut[..., 40:200, 20:])
    assert face.box == pytest.approx((180 - 20, 62 - 40, 266 - 20, 174 - 40), abs=5)


def test_a_face_cut_by_the_border_is_found(model, astronaut):
    (face,) = model(astronaut[..., 200:])
    assert face.score > 0.9
    assert face.box.right == pytest.approx(266 - 200, abs=6)


@pytest.mark.parametrize("name", ["brick", "coffee"])
def test_no_face_where_there_is_none(model, name):
    assert model(normalise(load_photo(name))) == []


def test_a_photo_smaller_than_the_smallest_face_holds_none(model):
    assert model(torch.zeros(1, 3, 19, 64)) == []


def test_a_batch_is_refused(model):
    with pytest.raises(ValueError, match=r"^one photograph \(1, 3, H, W\) is expected, not") as err:
        model(torch.zeros(2, 3, 64, 64))
    assert str(err.value).endswith("not (2, 3, 64, 64)")
