"""Freed tensors serve again while the heap is kept, and are given back afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: 80 MB, above the 32 MB that the C library adapts to by itself. In a process of its own: one that ran out
#: of memory once, as that of the tests does, allocates from another arena, which never keeps as much.
SCRIPT = '''
import json, resource, torch
from mapdiff.heap import give_back, kept_heap, peak_memory_mb

def faults():
    """Once the first have left gaps of the sizes that are asked for: the C library aligns tensors."""
    found = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert torch.ones(20_000_000).sum() == 20_000_000
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return sorted(found[10:])[5] * resource.getpagesize() / 80e6

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6

def mapped_anew(times=50):
    """Of 2 MB, which the library keeps by itself: the part of it that page faults find each time."""
    for _ in range(5):
        torch.ones(500_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(500_000)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages * resource.getpagesize() / 2e6 / times

told = {"before": faults()}
with kept_heap():
    told["kept"] = faults()
    with kept_heap():
        pass
    told["after one within"] = faults()
    small = []
    for n in range(20):  # small things that stay, between large ones that go
        large = torch.ones(20_000_000 + n * 1000)
        small.append(torch.ones(100 + n))
        del large
    told["full of gaps"] = resident()
    give_back()
    told["given back"] = resident()
    large = torch.ones(20_000_000)
    del large
    told["used again"] = resident()
told["after"] = resident()
told["small ones after"] = mapped_anew()
told["peak"] = peak_memory_mb()
print(json.dumps(told))
'''


def test_the_heap_is_kept_and_given_back():
    """Told by the pages that the system had to find for a new tensor, as a part of the tensor."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if sys.platform != "linux" or (setting.exists() and "[always]" in setting.read_text()):
        pytest.skip("page faults count nothing here: no Linux, or the system gives large pages")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["before"] > 0.9
    assert told["kept"] < 0.1 and told["after one within"] < 0.1
    assert told["given back"] < told["full of gaps"] - 70
    assert told["after"] < told["used again"] - 70
    assert told["peak"] > 80
    assert told["small ones after"] < 0.1, "what the library keeps by itself is kept no more"
