#!/usr/bin/env bash
# Builds, checks and times the backend for NVIDIA's cards.
#
#   bash bench/cuda/run.sh build [FOLDER]
#       Where Go is: builds locorun and the test binaries into FOLDER, by default
#       bench/cuda/out, which git ignores. LOCORUN_GOARCH names another
#       architecture. Fashion-MNIST is packed in too where it is found.
#   bash bench/cuda/run.sh check [--quick] [--dry-run] [--only STEPS] [FOLDER]
#       Where a card is, in a copy of this checkout with FOLDER in it; no Go, no
#       network. --quick ends within 9 minutes, without it 30. --dry-run prints
#       what would be done; --only takes names with commas between.
#
# Every step has its own limit of time and none stops the others; those that matter
# most come first, and what there is no time for is told. The table at the end, every
# step's output and times are written to $OUT, where that is set, else to
# FOLDER/results. Exit: 0 all passed or skipped for a reason that is told,
# 1 a step failed, 2 a wrong call, 3 there is no card.
#
# NVIDIA's libraries are found by the program itself: LOCORUN_CUDA_PATH, CUDA_HOME,
# the loader, the nvidia folders of the python3 in the path. No setting of the card
# is touched.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
datasets=${LOCORUN_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
card=${LOCORUN_CARD:-cuda} # the device of every step; cpu tries out what can be without a card
pictures="train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz"

wrong() { echo "run.sh: $*" >&2; exit 2; }

# --- build ---

build() {
  local folder=${1:-$here/out} packages="cuda:./graphs/cuda driver:./graphs/cuda/driver runtime:./runtime" p
  command -v go >/dev/null || wrong "build needs Go"
  mkdir -p "$folder" && folder=$(cd "$folder" && pwd) || exit 1
  export CGO_ENABLED=0 GOOS=linux GOARCH=${LOCORUN_GOARCH:-amd64} GOFLAGS="${GOFLAGS:-} -mod=readonly"
  cd "$root" || exit 1
  go build -trimpath -ldflags='-s -w' -o "$folder/locorun" . || exit 1
  for p in $packages; do
    go test -c -trimpath -ldflags='-s -w' -o "$folder/${p%%:*}.test" "${p#*:}" || exit 1
  done
  pack "$folder"
  if [ -e "$datasets/t10k-images-idx3-ubyte.gz" ]; then
    mkdir -p "$folder/fashion-mnist"
    for p in $pictures; do cp "$datasets/$p" "$folder/fashion-mnist/" || exit 1; done
  else
    echo "no Fashion-MNIST in $datasets: its run will be skipped"
  fi
  du -sh "$folder"
}

# pack puts the binaries into one archive, which travels at a quarter of the size:
# much of them is the same code four times.
pack() {
  cd "$1" || exit 1
  if command -v xz >/dev/null; then
    tar -cf - locorun cuda.test driver.test runtime.test | xz -T0 -3 --lzma2=preset=3,dict=128MiB >binaries.tar.xz || exit 1
  else
    tar -czf binaries.tar.gz locorun cuda.test driver.test runtime.test || exit 1
  fi
  rm -f locorun cuda.test driver.test runtime.test
  cd "$root" || exit 1
}

unpack() { # folder, to where
  if [ -e "$1/binaries.tar.xz" ]; then
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1/binaries.tar.xz" "$2"
  else
    tar -xzf "$1/binaries.tar.gz" -C "$2"
  fi
}

# --- check: the steps. Each is a function that runs in a shell of its own, with
# $work (binaries, runs), $results and $quick. A line that begins with "= " goes
# into the table. Exit 77: skipped, for the reason that such a line gives. ---

skip() { echo "= $*"; exit 77; }

tests() { # folder of the package, binary, arguments: counts what ran
  local dir=$1 binary=$2 rc
  shift 2
  cd "$root/$dir" || exit 1
  LOCORUN_TEST_CARD=1 "$work/$binary" -test.v -test.count=1 "$@" >"$work/$binary.log" 2>&1
  rc=$?
  grep -vE '^ *=== ' "$work/$binary.log" | tail -n 400
  echo "= $(grep -c -- '--- PASS' "$work/$binary.log") passed, $(grep -c -- '--- FAIL' "$work/$binary.log") failed, $(grep -c -- '--- SKIP' "$work/$binary.log") skipped"
  grep -q -- '--- PASS' "$work/$binary.log" || return 1
  return $rc
}

train() { # directory, further arguments: a run without an endpoint
  local dir=$1
  shift
  "$work/locorun" run --listen off --out "$dir" "$@"
}

weights() { # run directory: the hash of its encoder, without the header, which names the directory
  "$work/locorun" export "$1" --to "$1.safetensors" >/dev/null && python3 - "$1.safetensors" <<'END'
import hashlib, sys
held = open(sys.argv[1], "rb").read()
print(hashlib.sha256(held[8 + int.from_bytes(held[:8], "little"):]).hexdigest()[:16])
END
}

step_devices() {
  "$work/locorun" version --devices || exit 1
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem --format=csv 2>/dev/null
  echo "= $("$work/locorun" version --devices | sed -nE 's/^ *(cuda:0: .*)/\1/p')"
}

step_scripts() { python3 "$here/selftest.py"; }
step_driver() { tests graphs/cuda/driver driver.test -test.run 'OnCard|Compiler|Bindings|BindingConstants'; }
step_conformance() { tests graphs/cuda cuda.test -test.run '^TestOnCard$'; }

step_runtime() {
  tests runtime runtime.test -test.run '^Test.*O[nf]CUDA$' || exit 1
  grep -q 'kernels run on the host' "$work/runtime.test.log" || exit 0
  echo "= they ran on the host, not on the card"
  exit 1
}

same() { # run directories: all have the same weights
  local run hash first='' others=''
  for run in "$@"; do
    hash=$(weights "$run") || return 1
    echo "$(basename "$run"): weights $hash"
    [ "${first:=$hash}" = "$hash" ] || others=', AND OTHERS'
  done
  echo "= $# runs have weights $first$others"
  [ -z "$others" ]
}

variant() { # name in examples, settings: the path of a copy with other settings
  local copy=$work/$1
  copy+=$(printf -- '-%s' "${@:2}" | tr '=' '-').loco
  python3 "$here/variant.py" "$root/examples/$1.loco" "${@:2}" >"$copy" && echo "$copy"
}

quick_runs() { # the quickstart on the processor and on the card, once for all steps
  local graph=$root/examples/quickstart.loco
  [ -d "$work/quick-cpu" ] || train "$work/quick-cpu" "$graph" >/dev/null || return 1
  [ -d "$work/quick-card" ] || train "$work/quick-card" --device "$card" --views host "$graph"
}

# Views of the host throughout, so that both train on the same pixels.
step_quickstart() {
  quick_runs || exit 1
  train "$work/quick-again" --device "$card" --views host "$root/examples/quickstart.loco" >/dev/null || exit 1
  python3 "$here/losses.py" "$work/quick-cpu" "$work/quick-card" || exit 1
  same "$work/quick-card" "$work/quick-again"
}

# The same with maps in bfloat16.
step_bf16() {
  local graph
  graph=$(variant quickstart precision=bf16) && quick_runs || exit 1
  train "$work/bf16-card" --device "$card" --views host "$graph" || exit 1
  train "$work/bf16-again" --device "$card" --views host "$graph" >/dev/null || exit 1
  python3 "$here/losses.py" --precision bf16 "$work/quick-cpu" "$work/bf16-card" || exit 1
  same "$work/bf16-card" "$work/bf16-again"
}

# Microbatches in flight, units beside each other on streams of their own, and work
# that is recorded: none of it changes a byte.
step_depth() {
  local graph
  graph=$(variant quickstart microbatch=8 epochs=2) || exit 1
  train "$work/depth-1" --device "$card" --depth 1 "$graph" || exit 1
  train "$work/depth-2" --device "$card" --depth 2 "$graph" || exit 1
  train "$work/depth-3" --device "$card" --depth 3 --no-recording "$graph" >/dev/null || exit 1
  same "$work/depth-1" "$work/depth-2" "$work/depth-3"
}

# Views made on the card: their last digits are others, so that the first losses
# are held to 1e-3.
step_views() {
  local graph
  graph=$(variant quickstart epochs=2) || exit 1
  train "$work/views-cpu" "$graph" >/dev/null || exit 1
  train "$work/views-card" --device "$card" --views device "$graph" || exit 1
  train "$work/views-again" --device "$card" --views device --depth 2 "$graph" >/dev/null || exit 1
  python3 "$here/losses.py" --first 1e-3 "$work/views-cpu" "$work/views-card" || exit 1
  same "$work/views-card" "$work/views-again"
}

# What a run needs is foreseen: a plan says it, and what is too large is refused
# before it begins.
step_memory() {
  local said rc
  "$work/locorun" plan --device "$card" "$root/examples/quickstart.loco" >"$work/plan.txt" || exit 1
  grep '^Memory of the card' "$work/plan.txt" || exit 1
  said=$("$work/locorun" bench step --device "$card" --steps 1 -D batch_images=8192 "$root/bench/resnet50.loco" 2>&1)
  rc=$?
  echo "$said"
  echo "= $(grep -oE 'the run needs [^(]*|[^,]* more than the .* are free of [^;]*' <<<"$said" | tr -d '\n')"
  [ $rc = 2 ] && grep -q "of the card's memory" <<<"$said"
}

# A run that is killed goes on from its last checkpoint and ends with the bytes of
# one that was not.
step_kill() {
  local graph=$root/examples/quickstart.loco run=$work/killed pid
  quick_runs >/dev/null || exit 1
  train "$run" --device "$card" --views host --checkpoint-every 25 "$graph" &
  pid=$!
  for _ in $(seq 600); do
    compgen -G "$run/checkpoints/*.loco-ckpt" >/dev/null && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  pkill_child "$pid"
  wait "$pid" 2>/dev/null
  ls "$run/checkpoints"
  [ -e "$run/checkpoints/step-00000620.loco-ckpt" ] && skip "the run had ended before it could be killed"
  "$work/locorun" run --listen off --resume "$run" --device "$card" --views host || exit 1
  same "$work/quick-card" "$run"
}

# pkill_child kills a job: the shell that runs the function, and the program in it.
pkill_child() {
  local children child
  read -ra children <"/proc/$1/task/$1/children"
  for child in "${children[@]}"; do kill -9 "$child" 2>/dev/null; done
  kill -9 "$1" 2>/dev/null
}

step_times() {
  local method seconds=$((${limit:?} - 15)) more=(--precisions "bf16,f32,tf32" --steps 20)
  [ "$quick" = 1 ] && more=(--precisions bf16 --steps 8 --warmup 2)
  python3 -c 'import torch' 2>/dev/null || {
    echo "python3 has no PyTorch: locorun alone"
    python3 "$here/variant.py" "$root/bench/resnet50.loco" precision=bf16 >"$work/resnet50-bf16.loco" || exit 1
    for method in e2e loco; do
      "$work/locorun" bench step --device "$card" --method "$method" -D batch_images=128 "$work/resnet50-bf16.loco" || exit 1
    done
    skip "without PyTorch beside it: python3 has none"
  }
  python3 "$here/times.py" --locorun "$work/locorun" --python python3 --device "$card" --modes eager,compile \
    --batches 256,128,64,32 --seconds "$seconds" --json "$results/times.json" "${more[@]}"
}

step_kernels() {
  local precision all="bf16 tf32 f32"
  [ "$quick" = 1 ] && all=bf16
  for precision in $all; do
    "$work/locorun" bench kernels --device "$card" --precision "$precision" --time 20ms --json >"$results/kernels-$precision.json" || exit 1
  done
  "$work/locorun" bench kernels --device "$card" --precision bf16 --time 10ms --match conv
}

step_fashion() {
  local graph=$root/examples/fashion-mnist.loco data=$folder/fashion-mnist epochs=2
  [ -d "$data" ] || skip "no Fashion-MNIST in the folder"
  [ "$quick" = 1 ] && epochs=1
  train "$work/fashion-cpu" --data "$data" -D epochs_all=$epochs "$graph" >/dev/null || exit 1
  train "$work/fashion-card" --data "$data" -D epochs_all=$epochs --device "$card" --views host "$graph" || exit 1
  python3 "$here/losses.py" "$work/fashion-cpu" "$work/fashion-card" || exit 1
  graph=$(variant fashion-mnist precision=bf16) || exit 1
  train "$work/fashion-bf16" --data "$data" -D epochs_all=$epochs --device "$card" --views host "$graph" >/dev/null || exit 1
  python3 "$here/losses.py" --precision bf16 "$work/fashion-cpu" "$work/fashion-bf16"
}

sanitize() { # tool, tests: few, as everything is many times slower
  local tool=$1 rc
  command -v compute-sanitizer >/dev/null || skip "no compute-sanitizer"
  cd "$root/graphs/cuda" || exit 1
  LOCORUN_TEST_CARD=1 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
    "$work/cuda.test" -test.v -test.run "$2" >"$work/$tool.log" 2>&1
  rc=$?
  grep -vE '^ *=== ' "$work/$tool.log" | tail -n 200
  grep -qiE 'Device not supported' "$work/$tool.log" && skip "compute-sanitizer does not support this machine"
  echo "= $(grep -oE '(ERROR|RACECHECK) SUMMARY.*' "$work/$tool.log" | tail -1)"
  grep -q -- '--- PASS' "$work/$tool.log" || exit 1
  return $rc
}

step_memcheck() {
  local some='^TestOnCard$/^Conformance(InBF16)?$'
  [ "$quick" = 1 ] && some='^TestOnCard$/^Conformance(InBF16)?$/^(conv|norm|pool|ntxent|dense|sgd)'
  sanitize memcheck "$some"
}
step_racecheck() { sanitize racecheck '^TestOnCard$/^Conformance$/^(conv$|norm$|pool_mean|ntxent|dense)'; }

# --- check: the order, and the limits in seconds, quick and whole ---

plan="devices:20:30 scripts:20:30 driver:60:120 conformance:90:300 quickstart:60:120 bf16:40:90 times:220:900
depth:30:60 views:30:60 memory:20:30 runtime:60:240 kill:40:90 kernels:30:120 fashion:60:180 memcheck:60:400 racecheck:50:300"

# outcome tells what a step's exit status means.
outcome() {
  case $1 in
    0) echo passed ;;
    77) echo skipped ;;
    124 | 137) echo "out of time" ;;
    *) echo "FAILED ($1)" ;;
  esac
}

# one runs a step within its limit and adds its line to the table.
one() { # name, limit
  local rc began=$SECONDS note
  printf '\n== %s, %d s at most\n' "$1" "$2"
  work=$work results=$results quick=$quick folder=$folder limit=$2 \
    timeout -k 5 "$2" bash "$here/run.sh" "step $1" >"$work/$1.out" 2>&1
  rc=$?
  cat "$work/$1.out"
  note=$(grep '^= ' "$work/$1.out" | tail -1 | cut -c3-)
  line "$1" "$(outcome $rc)" "$((SECONDS - began))" "$note"
  [ $rc = 0 ] || [ $rc = 77 ] || failed=1
}

line() { printf '%-12s %-12s %5s s  %s\n' "$@" >>"$work/table"; }

ending() { echo "$all s in all; limit $whole s; $([ "$failed" = 0 ] && echo 'nothing failed' || echo 'SOMETHING FAILED')"; }

check() {
  quick=0 dry=0 only='' folder=$here/out failed=0
  while [ $# -gt 0 ]; do
    case $1 in
      --quick) quick=1 ;;
      --dry-run) dry=1 ;;
      --only) [ $# -gt 1 ] || wrong "--only wants names of steps"; only=$2; shift ;;
      -*) wrong "no such option: $1" ;;
      *) folder=$1 ;;
    esac
    shift
  done
  local names n
  names=" $(for p in $plan; do printf '%s ' "${p%%:*}"; done)"
  for n in ${only//,/ }; do [ "${names/ $n /}" != "$names" ] || wrong "no such step: $n; there are$names"; done
  whole=$([ "$quick" = 1 ] && echo 530 || echo 1780)
  if [ "$dry" = 1 ]; then
    dry_run
    exit 0
  fi
  [ -e "$folder/binaries.tar.xz" ] || [ -e "$folder/binaries.tar.gz" ] || wrong "no binaries in $folder: run \`bash bench/cuda/run.sh build\` where Go is"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  folder=$(cd "$folder" && pwd) || exit 2
  results=${OUT:-$folder/results}
  mkdir -p "$results" && unpack "$folder" "$work" || exit 2
  if [ "$card" != cpu ] && ! "$work/locorun" version --devices | grep -q '^ *cuda:0: '; then
    "$work/locorun" version --devices
    echo "no card: nothing was checked"
    exit 3
  fi
  steps 2>&1 | tee "$results/check.log"
  exit "${PIPESTATUS[0]}"
}

# steps runs all that is asked for; what there is no time for is told. It ends the
# shell it is in.
steps() {
  local p name box left
  for p in $plan; do
    IFS=: read -r name box full <<<"$p"
    [ "$quick" = 1 ] || box=$full
    [ -z "$only" ] || [[ ",$only," == *",$name,"* ]] || continue
    left=$((whole - SECONDS))
    if [ "$left" -lt 15 ]; then
      line "$name" skipped 0 "no time was left"
      continue
    fi
    one "$name" "$((box < left ? box : left))"
  done
  all=$SECONDS
  printf '\n'
  { cat "$work/table"; ending; } | tee "$results/table.txt"
  exit "$failed"
}

dry_run() {
  local p name box full
  echo "would run, $whole s at most in all:"
  for p in $plan; do
    IFS=: read -r name box full <<<"$p"
    [ "$quick" = 1 ] || box=$full
    [ -z "$only" ] || [[ ",$only," == *",$name,"* ]] || continue
    printf '\n%s, %d s at most:\n' "$name" "$box"
    declare -f "step_$name" | sed '1,2d;$d'
  done
}

case "${1:-}" in
  build | check) "$@" ;;
  "step "*) "step_${1#step }" ;;
  *) wrong "call: build [FOLDER] or check [--quick] [--dry-run] [--only STEPS] [FOLDER]" ;;
esac
