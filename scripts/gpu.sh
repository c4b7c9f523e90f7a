# Which CUDA layer of requirements.lock this machine gets. Sourced by scripts/setup.sh; sets, by find_gpu:
#   gpu_layer   cuda13, cuda12, or nothing: JAX for the CPU alone
#   gpu_line    one line about why; empty where there is no NVIDIA driver and none was asked for
#   gpu_found   the GPU and its driver; empty where no driver answers
# GPU=none|cuda12|cuda13 decides instead; with GPU=auto, or nothing, the driver and the GPU's compute capability do.

driver_needed() { # LAYER: the oldest NVIDIA driver that runs it (https://docs.jax.dev/en/latest/installation.html)
  case $1 in cuda13) echo 580 ;; cuda12) echo 525 ;; esac
}

capability_needed() { # LAYER: the least compute capability that it has code for, in tenths
  case $1 in cuda13) echo 75 ;; *) echo 0 ;; esac
}

capability_of_gpu() { # in tenths: 89 is 8.9. Nothing where the driver does not say; the oldest do not know the question
  local said
  said=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1) || true
  if [[ $said =~ ^([0-9]+)\.([0-9])$ ]]; then echo "${BASH_REMATCH[1]}${BASH_REMATCH[2]}"; fi
}

tenths() { echo "${1%?}.${1: -1}"; }

find_gpu() { # [LAYER]: goes first where the driver decides. Returns 1, with the reason in gpu_line, if it cannot be
  local driver='' name='' major capability='' why='' layer
  gpu_layer='' gpu_line='' gpu_found=''
  if command -v nvidia-smi >/dev/null 2>&1; then
    IFS=, read -r driver name < <(nvidia-smi --query-gpu=driver_version,name --format=csv,noheader 2>/dev/null) || true
    name=${name# }
  fi
  major=${driver%%.*}
  [[ $major =~ ^[0-9]+$ ]] || major=''    # nvidia-smi prints its own failures, too
  [ -z "$major" ] || { gpu_found="$name, driver $driver"; capability=$(capability_of_gpu); }
  if [ -n "$capability" ] && [ "$capability" -lt "$(capability_needed cuda13)" ]; then
    why="CUDA 13 needs compute capability $(tenths "$(capability_needed cuda13)"), $name has $(tenths "$capability")"
  fi
  case ${GPU:-} in
    none) gpu_line='GPU=none: JAX for the CPU alone' ;;
    cuda12 | cuda13)
      if [ -n "$major" ] && [ "$major" -lt "$(driver_needed "$GPU")" ]; then
        gpu_line="GPU=$GPU needs NVIDIA's driver >= $(driver_needed "$GPU"); $name has $driver: update it"
        [ "$major" -lt "$(driver_needed cuda12)" ] || gpu_line+=', or set GPU=cuda12'
        return 1
      fi
      if [ "$GPU" = cuda13 ] && [ -n "$why" ]; then
        gpu_line="GPU=cuda13: $why; set GPU=cuda12"
        return 1
      fi
      gpu_layer=$GPU gpu_line="GPU=$GPU: JAX with CUDA ${GPU#cuda}" ;;
    '' | auto)
      if [ -n "$major" ]; then
        for layer in ${1:-} cuda13 cuda12; do
          [ "$major" -ge "$(driver_needed $layer)" ] || continue
          [ "$layer" = cuda12 ] || [ -z "$why" ] || continue
          gpu_layer=$layer gpu_line="$gpu_found: JAX with CUDA ${layer#cuda} (without it: GPU=none)${why:+; $why}"
          return 0
        done
        gpu_line="$name has driver $driver: CUDA 12 needs >= $(driver_needed cuda12), CUDA 13 >= $(driver_needed cuda13). \
JAX for the CPU alone; update the driver and run the same command again"
      elif command -v nvidia-smi >/dev/null 2>&1; then
        gpu_line="nvidia-smi is here, but no driver answers it: JAX for the CPU alone; GPU=cuda13 or GPU=cuda12 insists"
      fi ;;
    *)
      gpu_line="GPU is '$GPU'; expected none, cuda12, cuda13, or auto: then the driver and the GPU decide"
      return 1 ;;
  esac
}
