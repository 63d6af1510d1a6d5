"""What a person reads of an error."""


def message(what: str, *, where: str, expected: str, hint: str) -> str:
    """Return the whole text of an error of these four parts."""
    return f"{what}\n  where:    {where}\n  expected: {expected}\n  hint:     {hint}"
