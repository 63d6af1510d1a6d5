"""Text from outside is shown so that nothing in it is hidden, endless or executed."""

import pytest

from heartline import visible
from heartline.errors import DataError


@pytest.mark.parametrize("text", ["age", "Größe", "возраст", "年齢", "mm Hg", "naïve", "5 €", "m²"])
def test_ordinary_words_of_any_script_are_left_as_they_are(text):
    assert visible.visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ch\u200bol", "ch\\u200bol (contains U+200B ZERO WIDTH SPACE)"),
        ("\u0430ge", "\\u0430ge (contains U+0430 CYRILLIC SMALL LETTER A)"),
        ("ср", "\\u0441\\u0440 (contains U+0441 CYRILLIC SMALL LETTER ES, U+0440 CYRILLIC SMALL LETTER ER)"),
        ("\uff41ge", "\\uff41ge (contains U+FF41 FULLWIDTH LATIN SMALL LETTER A)"),
        ("\u22125", "\\u22125 (contains U+2212 MINUS SIGN)"),
        ("63\xa0", "63\\xa0 (contains U+00A0 NO-BREAK SPACE)"),
        ("a\x1b[2Jb", "a\\x1b[2Jb (contains U+001B ESCAPE)"),
        ("a\u202egnp", "a\\u202egnp (contains U+202E RIGHT-TO-LEFT OVERRIDE)"),
        ("a\nb", "a\\nb (contains U+000A LINE FEED)"),
        ("\0", "\\x00 (contains U+0000 NULL)"),
    ],
)
def test_what_misleads_is_escaped_and_named(text, shown):
    assert visible.visible(text) == shown


def test_long_texts_and_lists_are_cut():
    assert visible.visible("x" * 3_000_000) == "x" * 40 + "…"
    assert visible.listed(range(322)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 312 more"
    assert visible.listed("abc") == "a, b, c"


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@x", "\t=1", "\r=1", " =1", "＝1"])
def test_a_formula_gets_an_apostrophe(text):
    assert visible.spreadsheet_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["-1.5", "+3", "-2e5", "52", "fast", "", "a=b"])
def test_numbers_and_words_stay_as_they_are_in_a_spreadsheet(text):
    assert visible.spreadsheet_cell(text) == text


def test_a_name_is_compared_without_what_misleads():
    assert visible.plain("\u0430g\u200be") == "age"


def test_an_error_shows_control_characters_of_its_parts():
    error = DataError("a \x1b[31mred\x1b[0m word", where="x\u202ey\n    - second line", expected="z\x07", hint="h")
    assert "\x1b" not in str(error)
    assert "a \\x1b[31mred" in error.what
    assert error.where == "x\\u202ey\n    - second line"
    assert error.expected == "z\\x07"


@pytest.mark.parametrize("text", ["a`b", "a``[x](http://e.vil)`b", "<img src=x>", "plain"])
def test_markdown_code_has_no_markup(text):
    code = visible.markdown_code(text)
    fence = code[: len(code) - len(code.lstrip("`"))]
    assert code.endswith(fence)
    assert fence not in code[len(fence) : -len(fence)]
    assert text in code
