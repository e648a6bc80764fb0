"""Commands that compute no study of their own: `vecsim merge`, `vecsim worker`."""

import re
from collections.abc import Sequence

from vecsim.errors import require

USAGE = {
    "merge": "vecsim merge FOLDER: makes one store of the shards in the output folder",
    "worker": "vecsim worker tcp://HOST:PORT [engine.cores=N]: computes for a Dask scheduler",
}
SUBCOMMANDS = tuple(USAGE)


def run(name: str, *words: str) -> int:
    """Do what `vecsim NAME WORDS` asks for; returns the exit code. ConfigError where the words have
    no meaning, StoreError where shards cannot be merged."""
    if "--help" in words or "-h" in words:
        print(USAGE[name])
        return 0
    return (_merge if name == "merge" else _worker)(words)


def _merge(words: Sequence[str]) -> int:
    from vecsim.results import disk, merging  # every command imports this module

    allowed = "one folder, the output of commands with shard=i/N"
    require(len(words) == 1 and bool(words[0]), "vecsim merge", " ".join(words), allowed)
    paths = merging.merge_shards(words[0])
    for path in paths:
        print(f"dataset  {path}")
    print(f"tables and figures: {disk.read_metadata(paths[0])[0]['command']}")
    return 0


def _worker(words: Sequence[str]) -> int:
    from vecsim import device
    from vecsim.studies import executors, overrides

    address, *settings = words or [""]
    require(executors.is_address(address), "vecsim worker", address, "tcp://HOST:PORT")
    cores = None
    require(len(settings) < 2, "vecsim worker", " ".join(words), "tcp://HOST:PORT engine.cores=N")
    for word in settings:
        key, text, _ = overrides.parse_word(word)
        require(key == "engine.cores", "vecsim worker", word, "engine.cores=N")
        cores = int(text) if re.fullmatch(r"\d{1,9}", text) else text
    device.configure(cores)
    from vecsim.studies.executors.dask_worker import serve

    return serve(address)
