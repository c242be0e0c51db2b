"""Operations and bytes of a function that JAX compiled, loops counted as often as they run.

XLA's own analysis counts the body of a loop once, even if it knows how often the loop runs. So each
body is counted as a program of its own.
"""

import functools
import re

import numpy as np


def count(compiled) -> dict:
    """Returns what a function that JAX compiled takes: "flop", "bytes" and "least bytes".

    The last are those of its arguments and results, which no compiler can avoid.
    """
    import jax
    from jaxlib import xla_client

    text, client = compiled.as_text(), jax.devices("cpu")[0].client
    text = re.sub("^HloModule .*$", "HloModule counted, is_scheduled=true", text, flags=re.M)
    computations = dict(re.findall(r"^(?:ENTRY )?(%\S+) \((.*?)^\}", text, re.M | re.S))
    entry = re.search(r"^ENTRY (%\S+)", text, re.M).group(1)

    @functools.cache
    def once(name):
        """Counts a computation, and the loops that it holds once, as XLA does."""
        as_entry = re.sub("^ENTRY ", "", text, flags=re.M)
        as_entry = re.sub(rf"^{re.escape(name)} \(", r"ENTRY \g<0>", as_entry, flags=re.M)
        module = xla_client.hlo.hlo_module_from_text(as_entry)
        costs = xla_client._xla.hlo_module_cost_analysis(client, module)
        named = ("flops", "transcendentals", "bytes accessed")
        flops, transcendentals, moved = (costs.get(each, 0) for each in named)
        return np.array([flops + transcendentals, moved])

    @functools.cache
    def total(name):
        inner = _inner(computations, name)
        return once(name) + sum(trips * total(each) - once(each) for each, trips in inner)

    sizes = compiled.memory_analysis()
    least = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return {
        **dict(zip(("flop", "bytes"), total(entry).tolist(), strict=True)),
        "least bytes": least,
    }


def _inner(computations, name):
    """Returns the computations that one runs in loops or calls, and how often it runs each."""
    inner = []
    for line in computations[name].splitlines():
        if " conditional(" in line:
            raise ValueError(f"unknown branch: {line.strip()[:200]}")
        if called := re.search(r" call\(.* to_apply=(%[\w.-]+)", line):
            inner.append((called.group(1), 1))
        if loop := re.search(r" while\(.* condition=(%[\w.-]+), body=(%[\w.-]+)", line):
            # The library's loops count from 0 to a number of their condition. XLA doesn't know how
            # often they run, since the counter depends on the state: see `_ops/while_loop.py`.
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            bounds = re.findall(r"s32\[\] constant\((\d+)\)", computations[loop.group(1)])
            if not known and len(bounds) != 1:
                raise ValueError(f"unknown number of trips: {line.strip()[:200]}")
            inner.append((loop.group(2), int(known.group(1) if known else bounds[0])))
    return inner
