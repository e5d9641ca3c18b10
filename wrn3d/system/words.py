"""Numbers in sentences."""


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a count with its noun, such as "1 image" or "1,500 images".

    `nouns` is the plural, if it is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def three_digits(number: float) -> str:
    """Return a number rounded to three digits; large numbers have no exponent."""
    return f"{float(f'{number:.3g}'):,.12g}"
