"""What the driver of many workers takes for itself."""

import resource
import time

import made
from stores import chunks

from vecsim.results.store import Store

CHUNKS = 10_000
CHUNK_MS = 1.0  # of the driver's CPU time that a chunk may take beside the writing
GROWTH_MB = 24  # that the driver may grow by from a tenth of the chunks to all of them


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_ten_thousand_chunks(tmp_path, monkeypatch):
    """Through two processes: memory is bounded, and the driver could feed hundreds of workers."""
    written, written_s, grown_mb = 0, 0.0, 0.0
    write = Store.write

    def measured(store, index, values):
        nonlocal written, written_s, grown_mb
        began = time.process_time()
        write(store, index, values)
        written_s += time.process_time() - began
        written += 1
        if written == CHUNKS // 10:
            grown_mb = memory_mb()

    monkeypatch.setattr(Store, "write", measured)
    study, began = made.study(list(range(1, CHUNKS // 5 + 1)), 40), time.process_time()
    made.run(study, tmp_path / "data.zarr", made.processes(study, 2))
    beside_ms = 1000 * (time.process_time() - began - written_s) / CHUNKS
    assert written == CHUNKS
    print(f"{beside_ms:.2f} ms a chunk beside {1000 * written_s / CHUNKS:.2f} ms of writing")
    assert beside_ms < CHUNK_MS
    assert memory_mb() - grown_mb < GROWTH_MB
    monkeypatch.setattr(Store, "write", write)
    made.run(study, tmp_path / "alone.zarr")
    assert chunks(tmp_path / "alone.zarr") == chunks(tmp_path / "data.zarr")
