"""LangGraph with its SQLite checkpointer, as the engine's benchmark measures the engine: chains of ten nodes that do nothing, 300 bytes
of state, every step durable before the next begins, in the folder that is the argument. Prints one JSON object; times in microseconds,
medians of the rounds."""

import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

NODES, CHAINS, ROUNDS, APPENDS = 10, 50, 5, 200


class State(TypedDict):
    step: int
    data: str


def chain(saver):
    graph = StateGraph(State)
    for node in range(NODES):
        graph.add_node(f"n{node}", lambda state: {"step": state["step"] + 1})
    names = [START, *(f"n{node}" for node in range(NODES)), END]
    for before, after in zip(names, names[1:]):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=saver)


def floor(folder):
    """An append of 400 bytes and fdatasync, by themselves."""
    times = []
    with open(folder / "floor", "wb", buffering=0) as file:
        for _ in range(APPENDS):
            begun = time.perf_counter()
            file.write(b"x" * 400)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def measured(folder):
    # The checkpointer sets WAL itself; the log that it is compared with survives a loss of power too.
    connection = sqlite3.connect(folder / "checkpoints.db", check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    saver = SqliteSaver(connection)
    saver.setup()
    graph = chain(saver)

    def run(name):
        ended = graph.invoke({"step": 0, "data": "x" * 300}, {"configurable": {"thread_id": name}}, durability="sync")
        assert ended["step"] == NODES

    run("first")
    (before,) = connection.execute("SELECT count(*) FROM checkpoints").fetchone()
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(CHAINS):
        run(f"t{number}")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    (after,) = connection.execute("SELECT count(*) FROM checkpoints").fetchone()
    nodes = CHAINS * NODES
    assert after - before >= nodes, "each node has its checkpoint"
    return wall / nodes, cpu / nodes


rounds = []
for _ in range(ROUNDS):
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        folder = Path(folder)
        rounds.append((floor(folder), *measured(folder)))
names = ["floor_us", "wall_us", "cpu_us"]
print(json.dumps({name: statistics.median(times) * 1e6 for name, times in zip(names, zip(*rounds))}))
