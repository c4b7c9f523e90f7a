#!/usr/bin/env bash
# Runs a command with the image's ROS 2, where it has one, and with restac_ros, where it is built.
set -eo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -f /opt/ros/jazzy/setup.bash ]; then . /opt/ros/jazzy/setup.bash; fi
if [ -f "$root/.venv/.restac-setup" ]; then . "$root/scripts/env.sh"; fi
exec "$@"
