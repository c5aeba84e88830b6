"""The root of lines is that of RFC 6962, and a proof leads a single line to it."""

from __future__ import annotations

from hashlib import sha256

import pytest

from sterna.planning.merkle import Merkle, leaf, proof, root_by

# The inputs and roots of the reference implementation (certificate-transparency, merkletree tests).
INPUTS = [
    bytes.fromhex(one)
    for one in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_the_reference() -> None:
    tree = Merkle()
    assert tree.root == sha256().digest()
    for line, root in zip(INPUTS, ROOTS, strict=True):
        tree.add(line)
        assert tree.root.hex() == root


def test_a_node_cannot_be_passed_off_as_a_line() -> None:
    tree, forged = Merkle(), Merkle()
    for line in (b"a", b"b"):
        tree.add(line)
    forged.add(leaf(b"a") + leaf(b"b"))
    assert tree.root != forged.root


@pytest.mark.parametrize("count", range(1, len(INPUTS) + 1))
def test_each_line_is_proved_by_its_path_and_no_other_line_is(count: int) -> None:
    root = bytes.fromhex(ROOTS[count - 1])
    for number in range(count):
        path = proof(INPUTS[:count], number, count)
        assert root_by(INPUTS[number], number, count, path) == root
        assert root_by(b"other", number, count, path) != root


def test_a_proof_of_another_length_is_none() -> None:
    path = proof(INPUTS, 3, len(INPUTS))
    for wrong in (path[:-1], [*path, path[0]]):
        with pytest.raises(ValueError, match="no proof"):
            root_by(INPUTS[3], 3, len(INPUTS), wrong)
    for number, count in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match="no proof"):
            root_by(b"", number, count, [])


def test_a_proof_needs_all_lines() -> None:
    with pytest.raises(ValueError, match="there are 7 lines"):
        proof(INPUTS[:7], 3, 8)
    with pytest.raises(ValueError, match="no line 8"):
        proof(INPUTS, 8, 8)
