"""What recording does how often: counts that are the same on every machine."""

from collections import Counter

import pytest
import torch
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.keys import Place


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of what is named: `calls(Place, "spellings")` returns a counter."""
    counted = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            counted[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
        return counted

    return count


def chain(size):
    return nn.Sequential(*(nn.Identity() for _ in range(size)))


# Reading


def test_a_map_is_put_under_its_names_once_however_often_maps_are_looked_up(calls):
    counted = calls(Place, "spellings")
    model, values = chain(5), torch.zeros(3)
    with capture(model, "*") as maps:
        for number in range(20):
            model(values)
            assert maps[f"3#{number}"].call == number if number else maps["3"].call == 0
            assert maps.of("model")[f"3#{number}"].call == number
            assert f"4#{number}" in maps
            assert "4" not in maps.only("4") or not number
    assert counted["spellings"] == 5 * 20


def test_what_is_cleared_is_found_no_more_and_what_follows_is():
    model = chain(2)
    with capture(model, "*") as maps:
        model(torch.zeros(3))
        before = maps["0"]
        maps.clear()
        assert "0" not in maps
        model(torch.zeros(3))
    assert maps["0"] is not before
