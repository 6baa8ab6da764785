"""What pytest-benchmark leaves in a record: the statistics of a layer, not each of its thousands of times."""


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for layer in output_json["benchmarks"]:
        layer["stats"].pop("data", None)
