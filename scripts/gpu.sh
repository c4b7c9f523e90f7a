# Which CUDA layer of requirements.lock this machine gets. Sourced by scripts/setup.sh; sets, by find_gpu:
#   gpu_layer   cuda13, cuda12, or nothing: JAX for the CPU alone
#   gpu_line    one line about why; empty where there is no NVIDIA driver and none was asked for
# GPU=none|cuda12|cuda13 decides instead of the driver; GPU=auto, or nothing, lets the driver decide.

driver_needed() { # LAYER: the oldest NVIDIA driver that runs it (https://docs.jax.dev/en/latest/installation.html)
  case $1 in cuda13) echo 580 ;; cuda12) echo 525 ;; esac
}

find_gpu() { # returns 1, with the reason in gpu_line, where what GPU asks for cannot be
  local driver='' name='' major layer
  gpu_layer='' gpu_line=''
  if command -v nvidia-smi >/dev/null 2>&1; then
    IFS=, read -r driver name < <(nvidia-smi --query-gpu=driver_version,name --format=csv,noheader 2>/dev/null) || true
    name=${name# }
  fi
  major=${driver%%.*}
  [[ $major =~ ^[0-9]+$ ]] || major=''    # nvidia-smi prints its own failures, too
  case ${GPU:-} in
    none) gpu_line='GPU=none: JAX for the CPU alone' ;;
    cuda12 | cuda13)
      if [ -n "$major" ] && [ "$major" -lt "$(driver_needed "$GPU")" ]; then
        gpu_line="GPU=$GPU needs NVIDIA's driver >= $(driver_needed "$GPU"); $name has $driver: update it"
        [ "$major" -lt "$(driver_needed cuda12)" ] || gpu_line+=', or set GPU=cuda12'
        return 1
      fi
      gpu_layer=$GPU gpu_line="GPU=$GPU: JAX with CUDA ${GPU#cuda}" ;;
    '' | auto)
      if [ -n "$major" ]; then
        for layer in cuda13 cuda12; do
          if [ "$major" -ge "$(driver_needed $layer)" ]; then
            gpu_layer=$layer gpu_line="$name, driver $driver: JAX with CUDA ${layer#cuda} (without it: GPU=none)"
            return 0
          fi
        done
        gpu_line="$name has driver $driver: CUDA 12 needs >= $(driver_needed cuda12), CUDA 13 >= $(driver_needed cuda13). \
JAX for the CPU alone; update the driver and run the same command again"
      elif command -v nvidia-smi >/dev/null 2>&1; then
        gpu_line="nvidia-smi is here, but no driver answers it: JAX for the CPU alone; GPU=cuda13 or GPU=cuda12 insists"
      fi ;;
    *)
      gpu_line="GPU is '$GPU'; expected none, cuda12, cuda13, or auto: then the driver decides"
      return 1 ;;
  esac
}
