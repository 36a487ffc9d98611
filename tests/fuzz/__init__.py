"""Fuzzing of everything that files, links and command lines can bring: `targets` says how, `run` does it for long.

``python tests/fuzz/run.py --seconds 600 [--target card]`` runs the targets one after another under atheris (guided by
coverage; ``pip install atheris`` first); tests/test_fuzz.py runs the same targets under hypothesis for seconds.

Known and not mended here: libhdf5 itself. A file whose heap of texts was overwritten with zeros makes HDF5 2.0 read an
attribute for ever (target ``h5ad-bytes``), with all of h5py locked meanwhile. Files come from
whoever runs the server: `explorer check FILE` first, which then hangs in the server's place.
"""
