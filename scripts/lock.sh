#!/usr/bin/env bash
# Resolves pyproject.toml (with the extras ray, sim, test and underlay) into requirements.lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
report=$(mktemp)
trap 'rm -f "$report"' EXIT

.venv/bin/python -m pip install --quiet --dry-run --ignore-installed --report "$report" '.[ray,sim,test,underlay]'
.venv/bin/python - "$report" > requirements.lock.new <<'PY'
import json, sys
print('# One resolution of pyproject.toml with the extras ray, sim, test and underlay (Python 3.12, Linux x86-64).')
print('# Renew with: make lock')
with open(sys.argv[1], encoding='utf-8') as file:
    packages = {p['metadata']['name'].lower().replace('_', '-'): p['metadata']['version'] for p in json.load(file)['install']}
packages.pop('restac-ros', None)
for name in sorted(packages):
    print(f'{name}=={packages[name]}')
PY
mv requirements.lock.new requirements.lock
