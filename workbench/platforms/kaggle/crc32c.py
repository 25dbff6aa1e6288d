"""CRC-32C (Castagnoli), the checksum that Google's storage has for every object, also for those without an MD5.

Python has no implementation, and a loop over bytes takes minutes for a gigabyte. Here a chunk is split into many strips
of equal length, whose checksums numpy computes in parallel. The checksums are then combined in pairs: appending n zero
bytes is the same linear map of the 32-bit register for all of them
(https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["file_crc32c"]

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, with its bits in reverse order."""

STRIP_BYTES = 256
MAX_STRIPS = 1 << 15
CHUNK_BYTES = STRIP_BYTES * MAX_STRIPS
"""8 MiB: the checksums of all its strips fit into the processor's cache."""

Numbers = npt.NDArray[np.uint32]


def file_crc32c(path: Path) -> str:
    """Return the CRC-32C of a file as 8 hex digits."""
    crc = np.uint32(0xFFFFFFFF)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc = _after_bytes(crc, chunk)
    return f"{int(crc) ^ 0xFFFFFFFF:08x}"


def _after_bytes(crc: np.uint32, chunk: bytes) -> np.uint32:
    """Return the 32-bit register after a chunk of bytes, given the register before it."""
    n_strips = len(chunk) // STRIP_BYTES
    if n_strips:
        strips = np.frombuffer(chunk, np.uint8, n_strips * STRIP_BYTES).reshape(n_strips, STRIP_BYTES)
        crc_after_zeros = _after_zeros(np.array([crc], np.uint32), n_strips * STRIP_BYTES)[0]
        crc = crc_after_zeros ^ _combined(_strip_crcs(strips))
    table = _byte_table()
    for byte in chunk[n_strips * STRIP_BYTES :]:
        crc = table[(int(crc) ^ byte) & 0xFF] ^ (crc >> np.uint32(8))
    return crc


@cache
def _byte_table() -> Numbers:
    """Return the register after each byte, from 0: shape (256,)."""
    crc: Numbers = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> np.uint32(1)) ^ (np.uint32(POLYNOMIAL) * (crc & np.uint32(1)))
    return crc


@cache
def _two_byte_table() -> Numbers:
    """Return the register after each pair of bytes, from 0: shape (65536,), by the pair as a little-endian number."""
    crc: Numbers = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2):
        crc = _byte_table()[crc & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc


def _strip_crcs(strips: npt.NDArray[np.uint8]) -> Numbers:
    """Return the register after each strip, from 0: shape (n_strips,)."""
    # Transposed so that the bytes at one position of all strips are contiguous.
    words = np.ascontiguousarray(strips.view("<u2").T)
    table, crc = _two_byte_table(), np.zeros(len(strips), np.uint32)
    for word in words:
        crc = table[(crc ^ word) & np.uint32(0xFFFF)] ^ (crc >> np.uint32(16))
    return crc


def _combined(crcs: Numbers) -> np.uint32:
    """Return the register after all strips one after the other, from the registers after each strip alone."""
    n_bytes = STRIP_BYTES
    while len(crcs) > 1:
        if len(crcs) % 2:  # a strip of zeros in front does not change the register
            crcs = np.concatenate([np.zeros(1, np.uint32), crcs])
        crcs = _after_zeros(crcs[0::2], n_bytes) ^ crcs[1::2]
        n_bytes *= 2
    return np.uint32(crcs[0])


def _after_zeros(crcs: Numbers, n_bytes: int) -> Numbers:
    """Return what each register becomes after a number of zero bytes."""
    return _apply(_zeros_map(n_bytes), crcs)


@cache
def _zeros_map(n_bytes: int) -> Numbers:
    """Return the linear map of appending zero bytes: the register that each single bit becomes, shape (32,)."""
    bits: Numbers = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if n_bytes == 1:
        one_byte: Numbers = _byte_table()[bits & np.uint32(0xFF)] ^ (bits >> np.uint32(8))
        return one_byte
    half = _zeros_map(n_bytes // 2)
    twice_half = _apply(half, half)
    return _apply(_zeros_map(1), twice_half) if n_bytes % 2 else twice_half


def _apply(linear_map: Numbers, crcs: Numbers) -> Numbers:
    """Return the images of registers under a linear map, given by the images of the 32 bits."""
    images: Numbers = np.zeros(len(crcs), np.uint32)
    for bit in range(32):
        images ^= linear_map[bit] * ((crcs >> np.uint32(bit)) & np.uint32(1))
    return images
