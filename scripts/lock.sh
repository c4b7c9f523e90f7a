#!/usr/bin/env bash
# Resolves pyproject.toml (with the extras ray, sim, test, underlay and view) into requirements.lock, and on top of it
# what JAX needs for each CUDA: these lines are marked, and left out by pip unless scripts/setup.sh takes a layer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

resolve() { # REPORT REQUIREMENT...
  .venv/bin/python -m pip install --quiet --dry-run --ignore-installed --report "$@"
}

resolve "$work/base.json" '.[ray,sim,test,underlay,view]'
.venv/bin/python scripts/lock_lines.py "$work/base.json" > "$work/lock"
locked() { sed -n "s/^$1==//p" "$work/lock"; }
resolve "$work/cuda12.json" -c "$work/lock" "jax[cuda12]==$(locked jax)"
# PyTorch's wheels bring most of CUDA 13: JAX's compiler must be of the same version as these libraries.
resolve "$work/cuda13.json" -c "$work/lock" "jax[cuda13]==$(locked jax)" \
  "cuda-toolkit[crt,nvcc,nvvm]==$(locked cuda-toolkit)"
.venv/bin/python scripts/lock_lines.py "$work/base.json" "$work/cuda12.json" "$work/cuda13.json" > requirements.lock.new
mv requirements.lock.new requirements.lock
