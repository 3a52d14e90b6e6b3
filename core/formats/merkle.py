"""RFC 6962/9162 Merkle trees: hashing, append with tiles, proofs and their checks. Pure; hashes are 32 bytes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "EMPTY_ROOT", "Frontier", "consistency_proof", "inclusion_proof", "leaf_hash", "node_hash", "root_of",
    "verify_consistency", "verify_inclusion",
]  # fmt: skip

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """``SHA-256(0x00 ‖ entry)``."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 ‖ left ‖ right)``."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: roots of its perfect subtrees, largest first."""

    size: int
    stack: list[bytes]

    @classmethod
    def parse(cls, size: int, data: bytes) -> "Frontier":
        """From ``dump``. Raises ``ValueError`` when the count of hashes does not belong to ``size``."""
        stack = [data[i : i + 32] for i in range(0, len(data), 32)]
        if len(stack) != size.bit_count() or len(data) % 32:
            raise ValueError("frontier does not belong to this size")
        return cls(size, stack)

    def dump(self) -> bytes:
        """All hashes joined."""
        return b"".join(self.stack)

    def append(self, leaf: bytes, tile: Callable[[int, int, bytes], None]) -> None:
        """Add a leaf hash; ``tile(level, n, hash)`` is told every hash that enters a tile (C2SP tlog-tiles)."""
        h, n, level = leaf, self.size, 0
        tile(0, n >> 8, h)
        while n & 1:
            h = node_hash(self.stack.pop(), h)
            n >>= 1
            level += 1
            if level % 8 == 0:
                tile(level // 8, n >> 8, h)
        self.stack.append(h)
        self.size += 1

    def root(self) -> bytes:
        """The tree head."""
        if not self.stack:
            return EMPTY_ROOT
        acc = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            acc = node_hash(left, acc)
        return acc


def _split(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes, from the definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return node_hash(root_of(leaves[:k]), root_of(leaves[k:]))


def inclusion_proof(index: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """Path for leaf ``index`` in a tree of ``size``; ``subtree(start, end)`` gives MTH(D[start:end])."""
    if not 0 <= index < size:
        raise ValueError("index outside the tree")

    def path(start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*path(start, middle), subtree(middle, end)]
        return [*path(middle, end), subtree(start, middle)]

    return path(0, size)


def consistency_proof(old: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """RFC 9162 §2.1.4.1 between ``old`` and ``size``."""
    if not 0 <= old <= size:
        raise ValueError("old size beyond the tree")
    if old in {0, size}:
        return []

    def part(m: int, start: int, end: int, whole: bool) -> list[bytes]:
        n = end - start
        if m == n:
            return [] if whole else [subtree(start, end)]
        k = _split(n)
        if m <= k:
            return [*part(m, start, start + k, whole), subtree(start + k, end)]
        return [*part(m - k, start + k, end, False), subtree(start, start + k)]

    return part(old, 0, size, True)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            r = node_hash(r, p)
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 §2.1.4.2."""
    if old > size:
        return False
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof
    if not proof:
        return False
    path = [*([old_root] if old & (old - 1) == 0 else []), *proof]
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, c)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == old_root and sr == root
