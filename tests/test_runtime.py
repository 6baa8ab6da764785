"""Threads, processes, memory, instruction sets: what a run may use, and what it must leave alone.

Whatever a process can do only once, or might not survive, is done by a script in a process of its own (see `python`).
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading

import numpy as np
import pytest
import tesela

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="affinity, fork and mallinfo2 as Linux has them"
)

# A network with every kind of step, and its input.
NETWORK = """
import os, sys, time
import numpy as np
import tesela

def network(size=33):
    g = tesela.Graph("runtime")
    x = g.conv2d("stem", g.input("x", (3, size, size)), 21, 3, stride=2, activation="relu")
    a, b = g.conv2d("a", x, 16, 1), g.conv2d("b", x, 24, 3, padding=1, activation="silu")
    x = g.concat("joined", [a, b])
    x = g.conv2d("depthwise", x, 40, 3, padding=1, groups=40)
    x = g.add("sum", x, g.conv2d("tiled", x, 40, 3, padding=1))
    x = g.local_response_norm("norm", g.max_pool2d("pool", x, kernel_size=3, padding=1), size=5)
    x = g.conv_transpose2d("up", x, 17, 3, stride=2)
    x = g.upsample("resized", g.avg_pool2d("mean", x, kernel_size=2), size=9, mode="bilinear")
    g.output(g.softmax("p", g.linear("fc", g.flatten("flat", x), 100)), "sum", "resized")
    return tesela.Network(g)

image = np.random.default_rng(5).standard_normal((2, 3, 33, 33), np.float32)
net = network()
"""
_namespace: dict = {}
exec(NETWORK, _namespace)
net, image = _namespace["net"], _namespace["image"]


def same_bits(results, expected) -> None:
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.view(np.int32), other.view(np.int32))


# ------------------------------------------------------------------------------------------------------- threads

THREADS = [2, 3, 5]


@pytest.mark.parametrize("accuracy", ["strict", "default"])
@pytest.mark.parametrize("batch", [1, 2])
def test_networks_give_the_same_bits_for_any_number_of_threads(accuracy, batch, isa):
    x = image[:batch]
    expected = net.compile(batch, threads=1, accuracy=accuracy)(x)
    for threads in THREADS:
        run = net.compile(batch, threads=threads, accuracy=accuracy)
        same_bits(run(x), expected)
        same_bits(run(x), expected)


def test_plans_made_for_any_number_of_threads_give_the_same_bits(isa, set_num_threads):
    """Work is cut by num_threads() when planned: another cut must not change a sum."""
    expected = net.compile(2, threads=1)(image)
    for threads in (1, *THREADS, 64):
        set_num_threads(threads)
        assert tesela.num_threads() == threads
        same_bits(net.compile(2)(image), expected)


OPERATORS = [
    ("conv2d", {"x": (1, 64, 14, 14), "weight": (48, 64, 3, 3)}, {"padding": 1}),
    ("conv2d", {"x": (3, 33, 9, 9), "weight": (70, 33, 1, 1)}, {}),
    ("conv2d", {"x": (1, 3, 50, 50), "weight": (20, 3, 7, 7)}, {"stride": 2}),
    ("conv2d", {"x": (1, 40, 20, 20), "weight": (40, 1, 3, 3)}, {"groups": 40, "activation": "gelu"}),
    ("conv_transpose2d", {"x": (1, 20, 9, 9), "weight": (20, 30, 4, 4)}, {"stride": 3}),
    ("linear", {"x": (1, 700), "weight": (333, 700)}, {}),
    ("gemm", {"a": (50, 300), "b": (300, 90)}, {}),
    ("gemm", {"a": (400, 1100), "b": (1100, 150)}, {}),
    ("gemm", {"a": (3, 700), "b": (700, 400)}, {}),
    ("max_pool2d", {"x": (2, 40, 30, 30)}, {"kernel_size": 3}),
    ("avg_pool2d", {"x": (2, 40, 30, 30)}, {"kernel_size": 7}),
    ("global_avg_pool2d", {"x": (2, 40, 30, 30)}, {}),
    ("softmax", {"x": (50, 1000)}, {}),
    ("softmax", {"x": (1, 21, 60, 60)}, {"dim": 1}),
    ("local_response_norm", {"x": (1, 40, 30, 30)}, {"size": 5}),
    ("tanh", {"x": (7, 5000)}, {}),
    ("upsample", {"x": (1, 20, 20, 20)}, {"scale_factor": 2, "mode": "bilinear"}),
]


@pytest.mark.parametrize("op, shapes, arguments", OPERATORS, ids=[f"{op}{tuple(s.values())}" for op, s, _ in OPERATORS])
def test_operators_give_the_same_bits_for_any_number_of_threads(op, shapes, arguments, isa, rng, set_num_threads):
    arrays = {operand: rng.standard_normal(shape, np.float32) for operand, shape in shapes.items()}
    results = []
    for threads in (1, *THREADS):
        set_num_threads(threads)
        results.append(getattr(tesela, op)(**arrays, **arguments))
    for result in results[1:]:
        same_bits([result], results[:1])


@pytest.mark.parametrize("callers", [2, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_one_compiled_network_called_from_several_threads(callers, threads):
    run = net.compile(1, threads=threads)
    images = np.random.default_rng(6).standard_normal((callers, 1, 3, 33, 33)).astype(np.float32)
    expected = [run(x) for x in images]
    start, failures = threading.Barrier(callers), []

    def call(caller: int) -> None:
        try:
            start.wait()
            out = [np.full_like(e, np.nan) for e in expected[caller]]
            for i in range(30):
                same_bits(run(images[caller], out=out) if i % 2 else run(images[caller]), expected[caller])
        except BaseException as error:
            failures.append(error)

    team = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not failures, failures[0]


def test_planning_and_running_at_once():
    """Functional calls plan and run; several threads share the team, or do without."""
    x, w = np.ones((1, 32, 20, 20), np.float32), np.ones((32, 32, 3, 3), np.float32)
    failures = []

    def call() -> None:
        for _ in range(20):
            if not (tesela.conv2d(x, w) == 288).all():
                failures.append("wrong result")

    team = [threading.Thread(target=call) for _ in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not failures


def test_the_number_of_threads_follows_the_environment(python):
    show = "import tesela; print(tesela.num_threads(), tesela.show_runtime()['threads'])"
    available = tesela.show_runtime()["available_threads"]
    assert python(show).split() == [str(available)] * 2
    assert python(show, OMP_NUM_THREADS="3").split() == ["3", "3"]
    assert python(show, OMP_NUM_THREADS="5,2").split() == ["5", "5"]
    assert python(show, OMP_NUM_THREADS="3", TESELA_NUM_THREADS="7").split() == ["7", "7"]
    assert python(f"import tesela; tesela.set_num_threads(6); {show}", TESELA_NUM_THREADS="7").split() == ["6", "6"]
    again = f"import tesela; tesela.set_num_threads(6); tesela.set_num_threads(0); {show}"
    assert python(again, TESELA_NUM_THREADS="7").split() == ["7", "7"]


def test_importing_brings_what_inference_needs(python):
    shown = python("import sys, numpy; before = {*sys.modules}; import tesela; print(*{*sys.modules} - before)")
    unneeded = {"hashlib", "json", "pathlib", "shutil", "tempfile", "tesela.models", "tesela.onnx", "tesela.published",
                "tesela.tuning", "urllib", "zipfile"}  # fmt: skip
    assert not unneeded.intersection(shown.split())


def test_a_number_of_threads_that_is_none_is_refused_when_asked_for(python):
    refused = """
import numpy, os, tesela
for nonsense in ("0", "-2", "many", "", "5,2", "4097", "99999999999999999999"):
    os.environ["TESELA_NUM_THREADS"] = nonsense
    for use in (tesela.num_threads, lambda: tesela.relu(numpy.ones(3, "float32"))):
        try:
            use()
        except ValueError as error:
            assert str(error) == f"TESELA_NUM_THREADS: expected threads from 1 to 4096, got '{nonsense}'", error
        else:
            raise AssertionError(f"accepted {nonsense!r}")
"""
    python(refused, TESELA_NUM_THREADS="many")


@pytest.mark.parametrize("op", ["stem", "winograd", "linear"])
def test_work_is_cut_for_the_threads_of_the_plan(op, set_num_threads):
    g = tesela.Graph(op)
    if op == "linear":
        g.output(g.linear("layer", g.flatten("flat", g.input("x", (64, 1, 1))), 16))
    elif op == "stem":
        g.output(g.conv2d("layer", g.input("x", (3, 224, 224)), 64, 7, stride=2, padding=3))
    else:
        g.output(g.conv2d("layer", g.input("x", (64, 56, 56)), 64, 3, padding=1))
    net, sizes = tesela.Network(g), []
    for threads_of_all, threads in ((64, 1), (1, 1), (1, 64), (64, 64)):
        set_num_threads(threads_of_all)
        sizes.append(net.compile(batch=1024 if op == "linear" else 1, threads=threads).memory()["scratch"])
    assert sizes[0] == sizes[1] != sizes[2] == sizes[3]  # scratch is for the rows of a task


@linux
def test_the_number_of_threads_follows_the_affinity_mask(python):
    script = """
import os, tesela
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assert tesela.num_threads() == tesela.show_runtime()["available_threads"] == 1
"""
    python(script)


@linux
def test_no_more_threads_than_asked_for(python):
    script = """
tasks = lambda: len(os.listdir("/proc/self/task"))
run = net.compile(2, threads=1)
before = tasks()
run(image)
assert tasks() == before, "one thread needs no team"
net.compile(2, threads=3)(image)
assert tasks() == before + 2, tasks()
net.compile(2, threads=2)(image)
assert tasks() == before + 1, tasks()
"""
    python(NETWORK + script)


def test_an_idle_process_uses_no_time(python):
    script = """
run = net.compile(2, threads=2)
run(image)
time.sleep(0.1)  # longer than a worker spins
used = []
for _ in range(5):  # a virtual machine that was stopped meanwhile charges that to whom it stopped
    before = time.process_time()
    time.sleep(0.3)
    used.append(time.process_time() - before)
print(min(used))
"""
    assert float(python(NETWORK + script)) < 0.02


# ------------------------------------------------------------------------------------------------------ processes

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

CHILD = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads, which is the point

def child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, status
            return
        time.sleep(0.01)
    os.kill(pid, 9)
    raise AssertionError("the child hangs")

def check():
    for result, other in zip(run(image), expected, strict=True):
        assert (result == other).all()
"""


@fork
@pytest.mark.parametrize("used_before", [False, True])
def test_a_forked_child_computes(used_before, python):
    script = f"""
run = net.compile(2, threads=3)
expected = net.compile(2, threads=1)(image)
if {used_before}:
    check()
child(check)
check()
child(check)
child(lambda: child(check))
check()
"""
    python(NETWORK + CHILD + script)


@pytest.mark.parametrize("files, membership, cpus", [
    ({}, "0::/", 0),
    ({"cpu.max": "max 100000"}, "0::/", 0),
    ({"cpu.max": "150000 100000"}, "0::/", 2),
    ({"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "800000 100000"}, "0::/a/b", 3),
    ({"a/b/cpu.max": "100000 100000", "a/cpu.max": "300000 100000"}, "0::/a/b", 1),
    ({"c/cpu.max": "100000 100000"}, "0::/a/b", 0),
    ({"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, "5:memory:/\n4:cpu,cpuacct:/a", 4),
    ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, "4:cpuacct,cpu:/a", 0),
    ({"cpu.max": "nonsense"}, "nonsense", 0),
])  # fmt: skip
def test_the_quota_of_nested_control_groups(files, membership, cpus, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(f"1:name=systemd:/elsewhere\n{membership}\n")
    assert tesela._core.cgroup_quota(str(tmp_path), str(tmp_path / "membership")) == cpus


@fork
def test_a_child_forked_while_another_thread_runs(python):
    """The child inherits a team whose lock may be held by a thread that it does not have."""
    script = """
import threading
run = net.compile(2, threads=2)
expected = run(image)
stop = threading.Event()

def busy():
    while not stop.is_set():
        run(image)

thread = threading.Thread(target=busy)
thread.start()
try:
    for _ in range(20):
        child(check)
finally:
    stop.set()
    thread.join()
check()
"""
    python(NETWORK + CHILD + script)


@fork
@pytest.mark.parametrize("used_before", [False, True])
def test_multiprocessing(used_before, python):
    script = f"""
import multiprocessing
run = net.compile(2, threads=2)
expected = net.compile(2, threads=1)(image)
if {used_before}:
    check()
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.map_async(in_child, range(6)).get(timeout=600)
check()
"""
    python(NETWORK + CHILD + "\ndef in_child(_):\n    check()\n" + script)


def test_importing_tesela_imports_nothing_but_numpy(python):
    script = """
import sys
import numpy, tesela
heavy = {"torch", "onnx", "onnxruntime", "PIL", "matplotlib", "sklearn", "scipy", "typer", "rich", "safetensors"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
x = numpy.ones((1, 1, 3, 3), "float32")
tesela.relu(tesela.conv2d(x, x))
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    python(script)


def test_a_process_ends_while_its_team_sleeps_or_runs(python):
    python(NETWORK + "net.compile(2, threads=3)(image)")
    script = """
import threading
run = net.compile(2, threads=2)
threading.Thread(target=lambda: [run(image) for _ in range(10**6)], daemon=True).start()
time.sleep(0.1)
os._exit(0)
"""
    python(NETWORK + script)


# --------------------------------------------------------------------------------------------------------- memory


@linux
@pytest.mark.parametrize("threads", [1, 2])
def test_a_second_call_allocates_nothing(threads, python):
    """200 calls into given arrays: neither Python's allocator nor the C library's grows."""
    script = f"""
import ctypes, gc, tracemalloc

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
if not hasattr(libc, "mallinfo2"):
    sys.exit()
libc.mallinfo2.restype = Mallinfo2

def held():
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd

run = net.compile(2, threads={threads})
out = run(image)
for _ in range(3):
    run(image, out=out)
gc.collect()
gc.disable()
before = held()
for _ in range(200):
    run(image, out=out)
grown = held() - before
assert grown < 4096, grown
tracemalloc.start()
run(image, out=out)
before, _ = tracemalloc.get_traced_memory()
for _ in range(200):
    run(image, out=out)
grown = tracemalloc.get_traced_memory()[0] - before
assert grown < 4096, grown
"""
    python(NETWORK + script)


def test_results_are_new_arrays_unless_out_is_given():
    run = net.compile(1)
    first, second = run(image[:1]), run(image[:1])
    assert not any(np.shares_memory(a, b) for a, b in zip(first, second, strict=True))
    assert all(given is result for given, result in zip(first, run(image[:1], out=first), strict=True))


def test_memory_that_a_network_holds_is_given_back(python):
    script = """
import gc, resource
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
big = network(129)
run = big.compile(4, threads=2)
x = np.zeros((4, 3, 129, 129), np.float32)
run(x)
sizes = run.memory()
assert sizes["arena"] > 2**20 and sizes["weights"] > 0 and sizes["scratch"] > 0
del run
def again(times):
    for _ in range(times):
        big.compile(4, threads=2)(x)
    gc.collect()
    return rss()
before = again(10)  # the allocator keeps some of what it was given back
grown = again(40) - before
assert grown < 20 * sizes["arena"], (grown, sizes)
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc/self/statm")
    python(NETWORK + script)


# ------------------------------------------------------------------------------------------------ instruction sets


def test_max_isa_limits_and_restores():
    runtime = tesela.show_runtime()
    assert runtime["supported_isas"][0] == "generic"
    for isa in runtime["supported_isas"]:
        with tesela.max_isa(isa):
            assert tesela.show_runtime()["isa"] == isa
            assert net.compile(1).isa == isa
    with pytest.raises(RuntimeError, match="inside"), tesela.max_isa("generic"):
        raise RuntimeError("inside")
    assert tesela.show_runtime()["isa"] == runtime["isa"]


def test_a_plan_keeps_the_instruction_set_it_was_made_for():
    with tesela.max_isa("generic"):
        run = net.compile(1)
        expected = run(image[:1])
    same_bits(run(image[:1]), expected)


def test_the_environment_limits_the_instruction_set(python):
    show = "import tesela; print(tesela.show_runtime()['isa'])"
    for isa in tesela.show_runtime()["supported_isas"]:
        assert python(show, TESELA_MAX_ISA=isa).strip() == isa
    widest = tesela.show_runtime()["supported_isas"][-1]
    assert python(show, TESELA_MAX_ISA="avx512").strip() == widest
    refused = """
import numpy, tesela
for use in (tesela.show_runtime, lambda: tesela.relu(numpy.ones(3, "float32"))):
    try:
        use()
    except ValueError as error:
        assert "TESELA_MAX_ISA" in str(error) and "'sse9'" in str(error), error
    else:
        raise AssertionError("accepted")
"""
    python(refused, TESELA_MAX_ISA="sse9")


QEMU = shutil.which("qemu-x86_64")


@pytest.mark.skipif(QEMU is None or platform.machine() != "x86_64", reason="needs qemu-x86_64, on x86-64")
@pytest.mark.parametrize("cpu, widest", [("SandyBridge", "generic"), ("Haswell", "avx2")])
def test_on_an_older_machine(cpu, widest, python):
    """Import and a convolution without an instruction that the machine lacks."""
    script = """
import numpy, tesela
print(tesela.show_runtime()["isa"])
x, w = numpy.ones((1, 20, 6, 6), numpy.float32), numpy.ones((5, 20, 3, 3), numpy.float32)
assert (tesela.conv2d(x, w, activation="relu") == 180).all()
assert abs(tesela.softmax(x) - 1 / 6).max() < 1e-7
"""
    assert python(script, command=(QEMU, "-cpu", cpu), timeout=1800).split() == [widest]
