"""CRC-32C (Castagnoli), the checksum that Google's storage tells of every object, also where it tells no MD5.

Python has none, and a loop over bytes takes minutes for a gigabyte. Here a piece is cut into many strips of one length,
which numpy goes through side by side, and the strips' checksums are joined: to append n zero bytes is the same linear
map of 32 bits for all of them (https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["file_crc32c"]

POLYNOMIAL = 0x82F63B78
STRIP_BYTES = 256
STRIPS = 1 << 15
PIECE_BYTES = STRIP_BYTES * STRIPS
"""8 MB: the checksums of all its strips stay in the processor's cache."""

Numbers = npt.NDArray[np.uint32]


def file_crc32c(path: Path) -> str:
    """Return the CRC-32C of a file as 8 hex digits."""
    crc = np.uint32(0xFFFFFFFF)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            crc = _after(crc, piece)
    return f"{int(crc) ^ 0xFFFFFFFF:08x}"


def _after(crc: np.uint32, piece: bytes) -> np.uint32:
    """Return the register after a piece, from what it was before."""
    n_strips = len(piece) // STRIP_BYTES
    if n_strips:
        strips = np.frombuffer(piece, np.uint8, n_strips * STRIP_BYTES).reshape(n_strips, STRIP_BYTES)
        crc = _moved(np.array([crc], np.uint32), n_strips * STRIP_BYTES)[0] ^ _joined(_of_strips(strips))
    table = _table()
    for byte in piece[n_strips * STRIP_BYTES :]:
        crc = table[(int(crc) ^ byte) & 0xFF] ^ (crc >> np.uint32(8))
    return crc


@cache
def _table() -> Numbers:
    crc: Numbers = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> np.uint32(1)) ^ (np.uint32(POLYNOMIAL) * (crc & np.uint32(1)))
    return crc


@cache
def _pairs() -> Numbers:
    """Return the table of two bytes at a time."""
    crc: Numbers = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2):
        crc = _table()[crc & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc


def _of_strips(strips: npt.NDArray[np.uint8]) -> Numbers:
    """Return the register after each strip, from 0."""
    # Side by side: the same two bytes of all strips lie together.
    words = np.ascontiguousarray(strips.view("<u2").T)
    table, crc = _pairs(), np.zeros(len(strips), np.uint32)
    for word in words:
        crc = table[(crc ^ word) & np.uint32(0xFFFF)] ^ (crc >> np.uint32(16))
    return crc


def _joined(crcs: Numbers) -> np.uint32:
    """Return the register after strips one behind the other."""
    size = STRIP_BYTES
    while len(crcs) > 1:
        if len(crcs) % 2:  # one of zeros in front changes nothing
            crcs = np.concatenate([np.zeros(1, np.uint32), crcs])
        crcs = _moved(crcs[0::2], size) ^ crcs[1::2]
        size *= 2
    return np.uint32(crcs[0])


def _moved(crcs: Numbers, n_bytes: int) -> Numbers:
    """Return registers after a number of zero bytes."""
    return _applied(_shift(n_bytes), crcs)


@cache
def _shift(n_bytes: int) -> Numbers:
    """Return what each single bit of the register becomes after a number of zero bytes."""
    bits: Numbers = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if n_bytes == 1:
        first: Numbers = _table()[bits & np.uint32(0xFF)] ^ (bits >> np.uint32(8))
        return first
    half = _shift(n_bytes // 2)
    twice_half = _applied(half, half)
    return _applied(_shift(1), twice_half) if n_bytes % 2 else twice_half


def _applied(columns: Numbers, crcs: Numbers) -> Numbers:
    moved: Numbers = np.zeros(len(crcs), np.uint32)
    for bit in range(32):
        moved ^= columns[bit] * ((crcs >> np.uint32(bit)) & np.uint32(1))
    return moved
