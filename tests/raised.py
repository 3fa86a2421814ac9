"""What was raised, line by line."""

import pytest


def text(caught):
    return str(caught.value).splitlines()


def failure(maps, **limits):
    """What `assert_healthy` says of maps that are not."""
    with pytest.raises(AssertionError) as caught:
        maps.assert_healthy(**limits)
    return text(caught)
