"""Damage files as disks, networks and attackers do."""

import struct

NUMBERS = [
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    1 << 15,
    (1 << 16) - 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 40),
    (1 << 62),
    (1 << 63) - 1,
]


def mutated(content, draw):
    """Return `content` with one to four changes, mostly near its ends, where headers are."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not content:
            break
        place = draw.randrange(len(content))
        if draw.random() < 0.7:
            place = draw.randrange(min(600, len(content))) * draw.choice([1, -1])
        place %= len(content)
        draw.choice(CHANGES)(content, place, draw)
    return bytes(content)


def flip(content, place, draw):
    content[place] ^= 1 << draw.randrange(8)


def replace(content, place, draw):
    content[place] = draw.randrange(256)


def write_number(content, place, draw):
    size, order = draw.choice("bhiq"), draw.choice("<>")
    width = struct.calcsize(order + size)
    number = draw.choice(NUMBERS) % (1 << (8 * width))
    content[place : place + width] = number.to_bytes(width, "little" if order == "<" else "big")


def delete(content, place, draw):
    del content[place : place + draw.randint(1, 64)]


def repeat(content, place, draw):
    content[place:place] = content[place : place + draw.randint(1, 64)] * draw.choice([1, 2, 50])


def move(content, place, draw):
    other = draw.randrange(len(content))
    content[place:place] = content[other : other + draw.randint(1, 64)]


def cut(content, place, draw):
    del content[place:]


def write_digits(content, place, draw):
    """Write a number as text, as the header of an array has it."""
    content[place : place + 1] = str(draw.choice(NUMBERS)).encode()


CHANGES = [flip, replace, write_number, delete, repeat, move, cut, write_digits]
