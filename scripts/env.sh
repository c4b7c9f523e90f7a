# Source this (bash or zsh) to use restac_ros in a shell:   . scripts/env.sh
# It activates .venv and, where ROS 2 comes from wheels, does what sourcing a ROS set-up file does.
_restac_root=$(cd "$(dirname "${BASH_SOURCE[0]:-${(%):-%x}}")/.." && pwd)
if [ ! -f "$_restac_root/.venv/.restac-setup" ]; then
  echo "restac_ros is not set up in $_restac_root: run 'make setup' there first" >&2
  return 1 2>/dev/null || exit 1
fi
. "$_restac_root/.venv/bin/activate"

_restac_prepend() { # VARIABLE DIRECTORY: put DIRECTORY first, once
  eval "_restac_old=\${$1:-}"
  case ":$_restac_old:" in
    *":$2:"*) ;;
    *) export "$1=$2${_restac_old:+:$_restac_old}" ;;
  esac
}

if [ "$(cut -d' ' -f2 "$_restac_root/.venv/.restac-setup")" = wheels ]; then
  # Another sourced ROS would mix its libraries with ours.
  unset PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO=jazzy
  _restac_prepend AMENT_PREFIX_PATH "$VIRTUAL_ENV"
  if [ -n "${RMW_IMPLEMENTATION:-}" ] \
     && [ ! -e "$VIRTUAL_ENV/share/ament_index/resource_index/rmw_typesupport/$RMW_IMPLEMENTATION" ]; then
    echo "restac_ros: RMW_IMPLEMENTATION=$RMW_IMPLEMENTATION is not among the wheels: unset in this shell" >&2
    unset RMW_IMPLEMENTATION
  fi
  _restac_prepend CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
fi
_restac_prefix=$_restac_root/install/restac_ros
if [ -d "$_restac_prefix" ]; then
  _restac_prepend AMENT_PREFIX_PATH "$_restac_prefix"
  _restac_prepend CMAKE_PREFIX_PATH "$_restac_prefix"
  _restac_prepend LD_LIBRARY_PATH "$_restac_prefix/lib"
  _restac_prepend PYTHONPATH "$_restac_prefix/lib/python3.12/site-packages"
fi
unset -f _restac_prepend
unset _restac_old _restac_root _restac_prefix
