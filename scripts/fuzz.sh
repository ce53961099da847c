#!/usr/bin/env bash
# Builds the fuzz targets with clang (ASan + UBSan) and runs each for SECONDS (default 30), beginning
# with its corpus. A finding stops with the input that shows it.
#   scripts/fuzz.sh [SECONDS] [NAME...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-30}
shift || true
folder=build/fuzz
mkdir -p "$folder"
cmake -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 \
  -DSTOKER_FUZZ=ON -DSTOKER_SANITIZE=address,undefined -DSTOKER_ENGINES=OFF -DSTOKER_TESTS=OFF >"$folder/configure.log" 2>&1 ||
  { tail -n 20 "$folder/configure.log" >&2; exit 1; }
cmake --build "$folder" --target fuzz -j "${STOKER_JOBS:-$(nproc)}"
for target in "$folder"/bin/fuzz_*; do
  name=$(basename "$target"); name=${name#fuzz_}
  (($#)) && [[ " $* " != *" $name "* ]] && continue
  corpus=$folder/corpus/$name
  mkdir -p "$corpus"
  seeds=()
  [ -d "tests/fuzz/corpus/$name" ] && seeds=("tests/fuzz/corpus/$name")
  printf 'fuzz %s for %s s: ' "$name" "$seconds"
  if ! "$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=1 \
      -artifact_prefix="$folder/finding-$name-" "$corpus" "${seeds[@]}" >"$folder/$name.log" 2>&1; then
    tail -n 40 "$folder/$name.log" >&2
    printf 'error: fuzz_%s found something: %s\n' "$name" "$folder/finding-$name-*" >&2
    exit 1
  fi
  grep -o 'stat::number_of_executed_units: *[0-9]*' "$folder/$name.log" | grep -o '[0-9]*' | sed 's/$/ executions, no finding/'
done
