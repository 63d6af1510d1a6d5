"""What all pages and figures share: escaping, number format, and a style that no setting of a user changes."""

import subprocess
import sys

import matplotlib as mpl
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from matplotlib.figure import Figure

from heartline.reports import rendering
from tests.conftest import ROOT


def test_templates_escape_values_and_refuse_missing_ones():
    template = rendering.templates().from_string("<b>{{ value }}</b>")
    assert template.render(value="<i>&") == "<b>&lt;i&gt;&amp;</b>"
    with pytest.raises(UndefinedError):
        template.render()


def test_numbers_have_commas_between_thousands():
    assert rendering.templates().from_string("{{ 1234567 | thousands }}").render() == "1,234,567"


def test_the_style_starts_from_the_defaults_and_is_undone():
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9}):
        with rendering.plot_style({"font.size": 9}):
            assert mpl.rcParams["font.size"] == 9
            assert mpl.rcParams["lines.linewidth"] == mpl.rcParamsDefault["lines.linewidth"]
            assert mpl.rcParams["svg.hashsalt"] == "heartline"
        assert mpl.rcParams["font.size"] == 30


def test_the_same_figure_is_the_same_svg():
    def drawn() -> bytes:
        with rendering.plot_style({}):
            figure = Figure(figsize=(2, 2))
            rendering.unit_square(figure.subplots(), "x", "y")
            return rendering.to_svg(figure)

    assert drawn() == drawn()
    assert b"<dc:date>" not in drawn()


def test_pages_do_not_import_matplotlib():
    code = "import sys; from heartline.reports import data_docs_site; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "include", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_pages_show_characters_that_cannot_be_seen():
    page = rendering.templates().from_string("<p>{{ value }}</p>{{ ready }}")
    assert page.render(value="a\x1b[2J<b>\u202e", ready=Markup("<i>1</i>")) == (
        "<p>a\\x1b[2J&lt;b&gt;\\u202e</p><i>1</i>"
    )
