"""What pytest-benchmark leaves in a record: the machine as other records describe it, and the statistics of a layer.

Not each of its thousands of times, nor what a host is called.
"""

from tesela import benchmark

from bench.source import commit


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.clear()
    machine_info.update(benchmark.describe())


def pytest_benchmark_update_commit_info(config, commit_info):
    commit_info.clear()
    commit_info["id"] = commit()


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for layer in output_json["benchmarks"]:
        layer["stats"].pop("data", None)
