"""What the driver of many workers takes for itself."""

import resource
import time

import made
from stores import chunks

from vecsim.results.store import Store

CHUNKS = 10_000
TRIALS = 1024  # of a chunk, of one point
ANSWER_MB = TRIALS * (8 + 8) / 2**20  # of two variables, as they come
CHUNK_MS = 1.0  # of the driver's CPU time that a chunk may take beside the writing
# From a tenth of the chunks to all of them the driver may grow by this: were answers kept, or a
# quarter of them, it would be more.
GROWTH_MB = 0.9 * CHUNKS * ANSWER_MB / 4


class Wide(made.Made):
    def chunks(self) -> tuple[int, int]:
        return 1, TRIALS


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
    study, began = made.study(list(range(1, CHUNKS + 1)), TRIALS), time.process_time()
    made.run(study, tmp_path / "data.zarr", made.processes(study, 2), Wide)
    beside_ms = 1000 * (time.process_time() - began - written_s) / CHUNKS
    assert written == CHUNKS
    print(f"{beside_ms:.2f} ms a chunk beside {1000 * written_s / CHUNKS:.2f} ms of writing")
    assert beside_ms < CHUNK_MS
    assert memory_mb() - grown_mb < GROWTH_MB
    monkeypatch.setattr(Store, "write", write)
    made.run(study, tmp_path / "alone.zarr", work=Wide)
    assert chunks(tmp_path / "alone.zarr") == chunks(tmp_path / "data.zarr")
