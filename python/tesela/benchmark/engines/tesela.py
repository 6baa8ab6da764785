"""tesela itself."""

from . import Model, Run

DISTRIBUTION = "tesela"


def prepare(model: Model, threads: int) -> Run:
    compiled = model.network().compile(model.batch, threads=threads, tune=model.tune)

    def run(x):
        y = compiled(x)
        return list(y) if isinstance(y, tuple) else [y]

    return run
