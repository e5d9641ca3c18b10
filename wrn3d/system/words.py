"""Numbers in sentences."""


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a count with its noun, such as "1 image" or "1,500 images".

    `nouns` is the plural, if it is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def per_cent(share: float) -> str:
    """Return a share such as 0.9502 as "95.02 %"."""
    return f"{100 * share:.2f} %"


def three_digits(number: float) -> str:
    """Return a number rounded to three digits; large numbers have no exponent."""
    return f"{float(f'{number:.3g}'):,.12g}"
