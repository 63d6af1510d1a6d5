"""What the service's log quotes cannot change a terminal or look like another entry."""

import io
import logging

from serving import log_format


def _logged(message: str, *values: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log_format.use([handler])
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning(message, *values)
    return stream.getvalue()


def test_control_characters_are_escaped():
    text = _logged("refused: %s", "a\x1b[2Jb\rc\u202ed\u200be")
    assert text.endswith("[WARNING] refused: a\\x1b[2Jb\\rc\\u202ed\\u200be\n")


def test_a_line_break_does_not_begin_an_entry():
    text = _logged("refused: %s", "a\n[2026-01-01] [1] [INFO] serving version 9")
    assert text.count("\n") == 2
    assert "\n    [2026-01-01]" in text


def test_ordinary_text_stays_as_it_is():
    assert _logged("Größe %d ≤ 5", 3).endswith("[WARNING] Größe 3 ≤ 5\n")
