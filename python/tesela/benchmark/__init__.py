"""Side-by-side timing of tesela and other engines: the same weights, the same input, the same threads, in turns.

    from tesela import benchmark, models

    result = benchmark.race(models.resnet50(), batch=1, threads=2)
    print(benchmark.table(result))

engines/         one file per engine: from a network to a function that runs it
side_by_side.py  compares their outputs, refuses the wrong, times the others
worker.py        the process that an engine has to itself
machine.py       what the numbers were measured on, and what it can do at most
"""

from .machine import ceilings, describe, slug
from .side_by_side import ENGINES, machine_line, race, record, table

__all__ = ["ENGINES", "ceilings", "describe", "machine_line", "race", "record", "slug", "table"]
