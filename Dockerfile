# restac_ros in a container.   docker build -t restac_ros .
#   --build-arg BASE=ubuntu:24.04   without ROS 2: the set-up makes an underlay from wheels
#   --build-arg GPU=cuda13          JAX for an NVIDIA GPU: no driver can be asked while an image is built
# Run with:   docker run --rm -it --gpus all --network host --shm-size 1g restac_ros restac-ros doctor
ARG BASE=ros:jazzy-ros-base

FROM ${BASE} AS tools
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY scripts/apt-packages.txt /tmp/apt-packages.txt
# hadolint ignore=DL3008
RUN apt-get update \
  && xargs --arg-file /tmp/apt-packages.txt apt-get install --yes --no-install-recommends \
  && rm -rf /var/lib/apt/lists/*

FROM tools AS restac_ros
ARG GPU=none
WORKDIR /opt/restac_ros
RUN chown ubuntu:ubuntu .
USER ubuntu
# In two steps: an edit of the package does not install its dependencies anew.
COPY --chown=ubuntu:ubuntu scripts scripts
COPY --chown=ubuntu:ubuntu requirements.lock Makefile ./
RUN scripts/in_container.sh make setup GPU="$GPU"
COPY --chown=ubuntu:ubuntu . .
RUN scripts/in_container.sh make build GPU="$GPU"
ENTRYPOINT ["/opt/restac_ros/scripts/in_container.sh"]
CMD ["restac-ros", "--help"]
