"""Encrypted models: microseconds of CPU per row, beside HEU's, in one run.

    .venv/bin/pip install --target DIR sf-heu==0.5.2b0; PYTHONPATH=DIR .venv/bin/python benchmarks/phe.py

HEU is what the reference uses; without it only our own figures are printed. Both work with one 2048-bit OU key on the
same numbers, in turns, and the best of several runs counts. Ours is the hardened form: a mask per row, fresh randomness
in each result. "From stock": random encryptions of zero were made beforehand, while the party was idle. "Packed":
several values in one ciphertext, as parties of this software may do it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gmpy2 import mpz
from sfs_op_phe.building import encrypt_intercept, encrypt_weights
from sfs_op_phe.config import PheConfig
from sfs_op_phe.dot_product import PheDotProduct
from sfs_op_phe.keyring import Keyring, keyring_of
from sfs_op_phe.matrices import write_cipher_matrix, write_plain_matrix
from sfs_op_phe.okamoto_uchiyama import generate_ou_keys
from sfs_op_phe.packed_leaves import PackedLeaves
from sfs_op_phe.packing import EXTENSION
from sfs_op_phe.schemes import read_public_key, read_secret_key
from sfs_op_phe.stock import Stock
from sfs_op_phe.tree_merge import Row, Terms, sums_of

from sfs_core import Batch, Cluster, ComputeContext, NodeSpec
from sfs_core.sdk.operator import AttributeValue

try:
    from heu import numpy as heu_numpy
    from heu import phe as heu_phe
except ImportError:
    heu_numpy = heu_phe = None

SCALE = 1 << 26
OPTIONS = PheConfig(noise_stock=0, workers=0)  # stocks are filled by hand, one core counts
ROUNDS = 5


class Work(NamedTuple):
    """What is measured, after what must be done before each time."""

    do: Callable[[], Any]
    before: Callable[[], Any] = lambda: None


def microseconds(per: int, *works: Work | None) -> list[float | None]:
    """CPU time of one call of each over `per`, the best of several; by turns, so that all meet the same machine."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            if work is not None:
                work.before()
                start = time.process_time()
                work.do()
                best[place] = min(best[place], time.process_time() - start)
    return [None if work is None else seconds / per * 1e6 for work, seconds in zip(works, best, strict=True)]


def show(what: str, ours: float | None, stocked: float | None, heu: float | None) -> None:
    """One line of the table."""
    assert ours is not None
    cells = [f"{ours:.1f}", "" if stocked is None else f"{stocked:.1f}", "" if heu is None else f"{heu:.1f}"]
    best = ours if stocked is None else stocked
    ratio = "" if heu is None else f"{heu / ours:.1f}x" + ("" if stocked is None else f" / {heu / best:.1f}x")
    print(f"| {what} | {' | '.join(cells)} | {ratio} |", flush=True)


def fill(keyring: Keyring, count: int) -> None:
    """Put random encryptions of zero in stock."""
    for stock in stocks(keyring):
        stock._stock.clear()
        stock._stock.extend(stock._make(count))


def empty(keyring: Keyring) -> None:
    """Leave no random encryptions of zero in stock."""
    for stock in stocks(keyring):
        stock._stock.clear()


def stocks(keyring: Keyring) -> list[Stock[Any]]:
    """Those that are in use."""
    masks = keyring.packed_masks if keyring.scores.used else keyring.their_masks
    return [keyring.own_noise, keyring.their_noise, masks]


def dot_product(cluster: Cluster, keyring: Keyring, kit: Any, num_features: int, num_rows: int) -> None:
    """The requester's PHE_2P_DOT_PRODUCT; HEU's product, mask and intercept."""
    weights = np.random.default_rng(1).normal(size=num_features)
    encrypted = encrypt_weights(weights.tolist(), SCALE, keyring.theirs)
    names = [f"f{i}" for i in range(num_features)]
    attributes = {
        "feature_names": AttributeValue("ss", names),
        "feature_types": AttributeValue("ss", ["DT_DOUBLE"] * num_features),
        "feature_weights_ciphertext": AttributeValue("by", encrypted),
        "intercept_ciphertext": AttributeValue("by", encrypt_intercept(0.5, SCALE, keyring.theirs)),
        "result_col_name": AttributeValue("s", "y"),
        "rand_number_col_name": AttributeValue("s", "rand"),
    }
    operator = PheDotProduct(NodeSpec("dot", "PHE_2P_DOT_PRODUCT", "0.0.1", (), attributes), OPTIONS)
    operator.prepare(cluster)
    values = np.random.default_rng(2).normal(size=(num_rows, num_features))
    features = Batch.from_matrix(operator.input_schemas()[0], values)
    context = ComputeContext("alice", "alice")
    theirs = None
    if kit:
        scaled = np.trunc(values * 10**6).astype(np.int64).T.ravel().tolist()
        rows = heu_numpy.PlaintextArray.load_from(write_plain_matrix(num_rows, num_features, 2, scaled))
        vector = heu_numpy.CiphertextArray.load_from(encrypted)
        mask = heu_numpy.PlaintextArray.load_from(write_plain_matrix(num_rows, 1, 1, [secrets.randbits(64)] * num_rows))
        evaluator = kit.evaluator()
        theirs = Work(lambda: evaluator.sub(evaluator.matmul(rows, vector), mask))
    ours, stocked, heu = microseconds(
        num_rows,
        Work(lambda: operator.compute(context, features), lambda: empty(keyring)),
        Work(lambda: operator.compute(context, features), lambda: fill(keyring, num_rows)),
        theirs,
    )
    show(f"dot product, {num_features} features, {num_rows} rows{packed_if(keyring)}", ours, stocked, heu)


def packed_if(keyring: Keyring) -> str:
    """For the name of a line."""
    return ", packed" if keyring.scores.used else ""


def tree_merge(keyring: Keyring, kit: Any, num_trees: int, num_leaves: int) -> None:
    """One row of all trees: shares times encrypted selections, and their sum."""
    key, count = keyring.theirs, num_trees * num_leaves
    bases = [key.noise() for _ in range(count)]
    shares = [secrets.randbits(128) - (1 << 127) for _ in range(count)]
    numbers, mask = shares, 0
    if keyring.leaves.possible:
        numbers = [share % keyring.leaves.modulus for share in shares]
        mask = keyring.leaves.shape(keyring.leaves.count).mask(0)
    least = min(numbers)  # taken off where one leaf of each tree is left, as PHE_2P_TREE_MERGE does it
    row = Row([Terms(bases, [number - least for number in numbers], mpz(1), count)], mask)
    noise = key.noise()
    theirs = None
    if kit:
        selections = heu_numpy.CiphertextArray.load_from(write_cipher_matrix(count, 1, 1, bases, key))
        numbers = heu_numpy.PlaintextArray.load_from(write_plain_matrix(count, 1, 1, shares))
        evaluator = kit.evaluator()
        theirs = Work(lambda: evaluator.sum(evaluator.mul(selections, numbers)))
    ours, heu = microseconds(1, Work(lambda: sums_of([row], [noise], key, keyring.workers)), theirs)
    show(f"tree merge, {num_trees} trees x {num_leaves} leaves{packed_if(keyring)}", ours, None, heu)


def primitives(keyring: Keyring, kit: Any, secret: Any) -> None:
    """Encrypting bits, decrypting."""
    key, count = keyring.theirs, 200

    def encrypt(take: Callable[[int], Sequence[mpz]], one: mpz, modulus: mpz) -> list[mpz]:
        return [noise * one % modulus for noise in take(count)]

    theirs = partial(encrypt, keyring.their_noise.take, key.power(1), key.modulus)
    own = partial(encrypt, keyring.secret.noises, keyring.own.power(1), keyring.own.modulus)
    ciphertexts = theirs()
    encrypting = decrypting = None
    if kit:
        bits = heu_numpy.PlaintextArray.load_from(write_plain_matrix(count, 1, 1, [1] * count))
        encrypting = Work(lambda: kit.encryptor().encrypt(bits))
        matrix = heu_numpy.CiphertextArray.load_from(write_cipher_matrix(count, 1, 1, ciphertexts, key))
        decrypting = Work(lambda: kit.decryptor().decrypt(matrix))
    ours, ours_own, stocked, heu = microseconds(
        count,
        Work(theirs, lambda: empty(keyring)),
        Work(own),
        Work(theirs, lambda: fill(keyring, count)),
        encrypting,
    )
    show("encrypt a bit, the peer's key", ours, stocked, heu)
    show("encrypt a bit, own key", ours_own, stocked, heu)
    ours, heu = microseconds(count, Work(lambda: secret.decrypt(ciphertexts)), decrypting)
    show("decrypt", ours, None, heu)


def packed_primitives(keyring: Keyring, kit: Any, secret: Any) -> None:
    """The same of values that share ciphertexts: bits and shares of leaves, and masked scores."""
    rows, leaves = 2 * keyring.leaves.count, 32
    packer = PackedLeaves(keyring, [secrets.randbits(127) for _ in range(leaves)], range(leaves), range(leaves))
    selections = [secrets.randbits(leaves) for _ in range(rows)]
    count = packer.noises(rows)

    def encrypt() -> tuple[bytes, bytes]:
        return packer.cells(selections, iter(keyring.own_noise.take(count)))

    values = 2 * rows * leaves
    slots = keyring.scores
    numbers = [slots.pack([secrets.randbits(60) for _ in slots.shifts]) for _ in range(50)]
    ciphertexts = [
        noise * keyring.theirs.power(number) % keyring.theirs.modulus
        for number, noise in zip(numbers, keyring.theirs.noises(50), strict=True)
    ]
    scores = len(numbers) * slots.count

    def decrypt() -> list[int]:
        return slots.unpack(secret.decrypt(ciphertexts), scores, "score")

    encrypting = decrypting = None
    if kit:
        plain = heu_numpy.PlaintextArray.load_from(write_plain_matrix(values, 1, 1, [1] * values))
        encrypting = Work(lambda: kit.encryptor().encrypt(plain))
        items = keyring.theirs.noises(scores)
        matrix = heu_numpy.CiphertextArray.load_from(write_cipher_matrix(scores, 1, 1, items, keyring.theirs))
        decrypting = Work(lambda: kit.decryptor().decrypt(matrix))
    ours, stocked, heu = microseconds(
        values, Work(encrypt, lambda: empty(keyring)), Work(encrypt, lambda: fill(keyring, count)), encrypting
    )
    show("encrypt bits and shares of leaves, written, packed, per value", ours, stocked, heu)
    ours, heu = microseconds(scores, Work(decrypt), decrypting)
    show("decrypt scores, packed, per value", ours, None, heu)


def main() -> None:
    """Print the table."""
    own = generate_ou_keys()
    kit = None
    if heu_phe is None:
        print("sf-heu is not installed: only our own figures\n")
        theirs = generate_ou_keys()
    else:
        keys = heu_phe.setup(heu_phe.SchemaType.OU, 2048)
        kit = heu_numpy.HeKit(keys)
        public = read_public_key(keys.public_key().serialize())
        theirs = read_secret_key(keys.secret_key().serialize(), public)
    public_keys = {"alice": own.public.to_bytes(), "bob": theirs.public.to_bytes()}
    cluster = Cluster("alice", ("alice", "bob"), public_keys, own.to_bytes(), SCALE)
    keyring = keyring_of(cluster, OPTIONS)
    print("| µs per row | ours | from stock | HEU | faster |\n|---|---|---|---|---|")
    for num_features, num_rows in ((10, 1), (10, 100), (100, 1), (100, 100)):
        dot_product(cluster, keyring, kit, num_features, num_rows)
    for num_trees, num_leaves in ((10, 6), (50, 6), (100, 6)):
        tree_merge(keyring, kit, num_trees, num_leaves)
    primitives(keyring, kit, theirs)
    agreed = Cluster("alice", ("alice", "bob"), public_keys, own.to_bytes(), SCALE, extensions=frozenset({EXTENSION}))
    keyring = keyring_of(agreed, OPTIONS)
    for num_features, num_rows in ((10, 100), (100, 100)):
        dot_product(agreed, keyring, kit, num_features, num_rows)
    for num_trees, num_leaves in ((10, 6), (50, 6), (100, 6)):
        tree_merge(keyring, kit, num_trees, num_leaves)
    packed_primitives(keyring, kit, theirs)


if __name__ == "__main__":
    main()
