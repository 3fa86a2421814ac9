"""How names are written: on one line, harmless to a terminal, and short."""

from pytest_featuremaps.wording import listed, plain


def test_a_name_that_can_be_printed_is_left_alone():
    for name in ["layer.3", "größe", "<b>&\"'", "a b", "层.😀", ""]:
        assert plain(name) == name


def test_what_a_terminal_would_obey_is_escaped():
    assert plain("a\x1b[31m\r\nb") == r"a\x1b[31m\r\nb"
    assert plain("\u202e\x00\x9b\ud800\ufeff\u2028") == r"\u202e\x00\x9b\ud800\ufeff\u2028"


def test_the_middle_of_a_very_long_name_is_left_out():
    name = "begin" + "x" * 3000 + "end"
    assert plain(name) == "begin" + "x" * 75 + "…" + "x" * 76 + "end"
    assert plain("x" * 160) == "x" * 160
    assert len(plain("\n" * 160)) == 160


def test_names_in_a_list_are_written_alike():
    assert listed(["b\n", "a10", "a9"]) == r"a9, a10, b\n"
