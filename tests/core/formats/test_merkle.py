"""Every tree below seventy leaves, every proof, and every way to damage it."""

import pytest

from core.formats.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]
ROOTS = [root_of(LEAVES[:n]) for n in range(70)]


def subtree(start: int, end: int) -> bytes:
    return root_of(LEAVES[start:end])


def damaged(proof: list[bytes]) -> list[list[bytes]]:
    flipped = [[*proof[:i], bytes([h[0] ^ 1]) + h[1:], *proof[i + 1 :]] for i, h in enumerate(proof)]
    return [*flipped, *([proof[:-1], proof[1:]] if proof else []), [*proof, bytes(32)]]


def test_every_inclusion_proof_verifies_and_no_damaged_one_does() -> None:
    for n in range(1, 70):
        for m in range(n):
            proof = inclusion_proof(m, n, subtree)
            assert verify_inclusion(m, n, LEAVES[m], proof, ROOTS[n])
            assert not verify_inclusion(n, n, LEAVES[m], proof, ROOTS[n])
            assert not verify_inclusion(m, n, bytes(32), proof, ROOTS[n])
            assert not any(verify_inclusion(m, n, LEAVES[m], bad, ROOTS[n]) for bad in damaged(proof))


def test_every_consistency_proof_verifies_and_no_damaged_one_does() -> None:
    for n in range(1, 70):
        for m in range(1, n + 1):
            proof = consistency_proof(m, n, subtree)
            assert verify_consistency(m, n, ROOTS[m], ROOTS[n], proof)
            assert not verify_consistency(m, n, ROOTS[m], bytes(32), proof)
            assert not verify_consistency(m, n, bytes(32), ROOTS[n], proof)
            assert not any(verify_consistency(m, n, ROOTS[m], ROOTS[n], bad) for bad in damaged(proof))


def test_a_tree_never_shrinks() -> None:
    assert not verify_consistency(5, 4, ROOTS[5], ROOTS[4], [])


def test_the_frontier_has_the_root_of_the_definition_and_fills_each_tile() -> None:
    leaves = [leaf_hash(i.to_bytes(2, "big")) for i in range(600)]
    frontier, tiles = Frontier(0, []), dict[tuple[int, int], list[bytes]]()
    assert frontier.root() == EMPTY_ROOT
    for leaf in leaves:
        frontier.append(leaf, lambda level, n, h: tiles.setdefault((level, n), []).append(h))
        frontier = Frontier.parse(frontier.size, frontier.dump())
    assert frontier.root() == root_of(leaves)
    expected = {(0, n): leaves[256 * n : 256 * n + 256] for n in range(3)}
    expected[(1, 0)] = [root_of(leaves[0:256]), root_of(leaves[256:512])]
    assert tiles == expected


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.parse(3, bytes(32))
