"""Digests and chains of lanes (docs/protocol 05, 5.10)."""
from statement import sha256, u64


def chain_0(network, sender, incarnation, receiver, lane):
    return sha256(b"chartmesh stream v1\n", network, sender, u64(incarnation), receiver, bytes([lane]))


def next_chain(chain, digest):
    return sha256(b"chartmesh stream v1\n", chain, digest)


def digest(kind, statement_id, incarnation, generation, disclosure):
    return sha256(b"chartmesh item v1\n", bytes([kind]), statement_id, u64(incarnation), u64(generation), disclosure)
