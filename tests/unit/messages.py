"""The text of errors."""


def message(what: str, *, where: str, expected: str, hint: str) -> str:
    """Return the text of an error with these four parts."""
    return f"{what}\n  where:    {where}\n  expected: {expected}\n  hint:     {hint}"
