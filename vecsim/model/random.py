"""Counter-based random bits: Threefry-2x32-20 (Salmon et al. 2011, "Parallel random numbers").

Plain elementwise operations on uint32 arrays, so that XLA fuses them into whatever consumes the
bits, and NumPy arrays give the same bits on the host. A draw is named by what it is for, never
by the order in which it is made: trial `i` of a point with parameter hash `p` under `seed` has
the key `trial_key(point_key(seed, p), i)`, and inside a trial the counter is
(node, round and purpose). Results therefore depend on nothing else: not on batches, devices,
interruptions, or on how many cells an engine packs into a word. A block:

    key        the trial's two words
    counter    first word: the node (or another number), below 2^32
               second word: round << 4 | purpose
    gives      two words
"""

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits, as published for Threefry-2x32
PARITY = 0x1BD11BDA  # of the key schedule: the published constant
COINS = 2**24  # values of `uniform`: a float32 holds each of them exactly

# What a block is for: the low bits of the second counter word; the round is above them. A trial is
# run by one engine only, so engines may use the same purposes, each in its own way.
POLL, POLL_WIDE, PICK, ADVERSARY, TRIAL, PEERS, REPEATS, ANSWERS, PLACE = range(9)
# The same in the simulated cluster.
WORKLOAD, ACTION, WINDOW, VERTEX, SAMPLE, ROUND_TRIP, EVIDENCE = range(9, 16)
PURPOSES = 16  # how many purposes there may be: the low 4 bits of the second counter word
MAX_ROUNDS = 2**32 // PURPOSES  # rounds: each has its own value of the other 28 bits


def threefry(key0, key1, counter0, counter1):
    """The two words of one Threefry-2x32-20 block.

    All arguments and both results are uint32 arrays (NumPy or JAX) of shapes that broadcast.
    """
    u32 = np.uint32
    schedule = (key0, key1, key0 ^ key1 ^ u32(PARITY))
    x0, x1 = counter0 + key0, counter1 + key1
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << u32(rotation)) | (x1 >> u32(32 - rotation))
            x1 = x1 ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + u32(group + 1)
    return x0, x1


def split64(value):
    """High and low words of whole numbers below 2^64, uint32 of the same shape (NumPy)."""
    value = np.asarray(value, np.uint64)
    return (value >> np.uint64(32)).astype(np.uint32), value.astype(np.uint32)


def point_key(seed: int, point_hash: int):
    """Key of a point, two uint32 [1]: `seed` in [0, 2^32), `point_hash` in [0, 2^64)."""
    high, low = split64([point_hash])
    return threefry(np.zeros(1, np.uint32), np.array([seed], np.uint32), high, low)


def trial_key(key, trial):
    """Keys (two uint32 arrays) of the trials numbered `trial`, integers below 2^64 (NumPy)."""
    high, low = split64(trial)
    return threefry(key[0], key[1], high, low)


def trial_coin(key):
    """The word of a trial's shared coin, uint32: one for the whole trial. key: the trial's."""
    return threefry(key[0], key[1], np.uint32(0), np.uint32(TRIAL))[0]


def uniform(word):
    """float32 in [0, 1) from the top 24 bits of a word: one of COINS values, equally likely."""
    return (word >> np.uint32(8)).astype(np.float32) * np.float32(1 / COINS)


def uniform53(high, low):
    """float64 in [0, 1) from 53 bits of two words (NumPy)."""
    return ((high.astype(np.uint64) << np.uint64(21)) | (low >> np.uint32(11))) * 2.0**-53


def counter(round_, purpose: int):
    """Second counter word of a block, uint32. round_: uint32 below MAX_ROUNDS."""
    return round_ * np.uint32(PURPOSES) + np.uint32(purpose)
