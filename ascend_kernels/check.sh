#!/bin/bash
# Checks the kernels on this host, without an NPU: on the project's emulator always, and, where headers of CANN are
# found, compiled against those and linked with the same instruction model. The same cases run on every tier.
#
#   bash check.sh [PYTEST OPTIONS]     for example -k integers, for a part of the cases
#
#   ASCEND_HOME_PATH     CANN toolkit: installed, or unpacked (with <arch>-linux/); 8.1.RC1 was tried
#   ASC_DEVKIT_PATH      a checkout of asc-devkit (2026), and
#   ASC_CPUDEBUG_PATH    the folder of its newer CPU stubs, asc-tools' cpudebug/include; the others come from CANN
#   PYTHON               the interpreter with pytest and numpy (default: python3)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

model_sources="device formats global_memory instructions machine plans timeline vector host library aot"
own_includes="-I$here/common -I$here/op_kernel"
cpu_debug="-D__CCE_AICORE__=220 -D__DAV_C220__ -D__CCE_KT_TEST__=1 -DASCENDC_CPU_DEBUG=1 -DASCENDC_DEBUG=1"

# Turns existing folders into -isystem flags: the warnings of those headers are not ours.
system_includes() {
    local folder
    for folder in "$@"; do [ -d "$folder" ] && printf -- '-isystem %s ' "$folder"; done
    return 0
}

options=("$@")

# run_cases LABEL LIBRARY: an empty library means the emulator's own headers.
run_cases() {
    echo "== $1: cases"
    (cd "$here/.." && NEO_CELL_LIBRARY=$2 "$python" -m pytest -q -p no:cacheprovider \
        tests/ascend_kernels/test_{kernels,terms,performance,aot,pointwise,gelu}.py "${options[@]}")
}

# check_tier LABEL FLAGS: compiles the kernels and intrinsics with the flags, links them with the model, runs the cases.
check_tier() {
    local label=$1 flags=$2 name objects=()
    local tier=$work/$label
    mkdir -p "$tier"
    echo "== $label: compile"
    for name in kernels cann_intrinsics cann_vector; do
        # shellcheck disable=SC2086
        g++ -std=c++17 -O1 -fPIC $cpu_debug -include "$here/emulator/cann_prelude.h" $flags $own_includes \
            -c "$here/emulator/$name.cpp" -o "$tier/$name.o"
    done
    for name in $model_sources; do
        # shellcheck disable=SC2086
        g++ -std=c++17 -O2 -ffp-contract=off -fPIC $own_includes -c "$here/emulator/$name.cpp" -o "$tier/$name.o"
        objects+=("$tier/$name.o")
    done
    g++ -shared "${objects[@]}" "$tier/kernels.o" "$tier"/cann_{intrinsics,vector}.o -o "$tier/libneocell.so"
    run_cases "$label" "$tier/libneocell.so"
}

# check_op_host LABEL FLAGS: type-checks tiling and shape inference; their libraries exist only where CANN is installed.
check_op_host() {
    local label=$1 flags=$2 source library
    echo "== $label: op_host"
    for source in "$here"/op_host/*.cpp; do
        for library in OP_TILING_LIB OP_PROTO_LIB; do
            # shellcheck disable=SC2086
            g++ -std=c++11 -fsyntax-only -Wall -Wextra -D_GLIBCXX_USE_CXX11_ABI=0 -D$library $flags \
                -I"$here/common" "$source"
        done
    done
}

tiers=0
if [ -n "${ASCEND_HOME_PATH:-}" ]; then
    home=$ASCEND_HOME_PATH
    unpacked=$(find "$home" -maxdepth 1 -type d -name '*-linux' | head -n 1)
    stubs=$home/tools/tikicpulib/lib/include
    installed=$home/compiler/tikcpp/tikcfw
    includes=$(system_includes "$stubs" "$home/include" "$installed" "$installed/impl" "$installed/interface" \
        "$home"/compiler/ascendc/include/highlevel_api{,/impl,/lib})
    if [ -n "$unpacked" ] && [ ! -d "$installed" ]; then
        includes=$(system_includes "$stubs" "$unpacked/include" \
            "$unpacked"/ascendc/include/{basic_api{,/impl,/interface},highlevel_api{,/impl,/lib}})
    fi
    if [ ! -f "$stubs/stub_def.h" ]; then
        echo "missing: $stubs/stub_def.h (install the CANN toolkit, not only its runtime)" >&2
        exit 1
    fi
    check_op_host cann "$includes"
    check_tier cann "$includes"
    tiers=$((tiers + 1))
fi
if [ -n "${ASC_DEVKIT_PATH:-}" ]; then
    devkit=$ASC_DEVKIT_PATH
    cann_stubs=${ASCEND_HOME_PATH:-}/tools/tikicpulib/lib/include
    for file in "$devkit/include/basic_api/kernel_basic_intf.h" "${ASC_CPUDEBUG_PATH:-$cann_stubs}/stub_def.h" \
        "$cann_stubs/stub_fun.h"; do
        if [ ! -f "$file" ]; then
            echo "missing: $file (asc-devkit needs ASC_DEVKIT_PATH, ASC_CPUDEBUG_PATH and ASCEND_HOME_PATH)" >&2
            exit 1
        fi
    done
    includes=$(system_includes "${ASC_CPUDEBUG_PATH:-$cann_stubs}" "$devkit"/include{,/basic_api,/utils} \
        "$devkit"/impl/basic_api "$devkit/impl" "$devkit" "$devkit/impl/utils" "$cann_stubs")
    includes="-D__NPU_ARCH__=2201 -I$here/emulator/asc_devkit $includes"
    check_tier asc-devkit "$includes"
    tiers=$((tiers + 1))
fi
if [ "$tiers" -eq 0 ]; then
    echo "No headers of CANN (set ASCEND_HOME_PATH or ASC_DEVKIT_PATH): checking on the emulator alone."
fi
run_cases emulator ""
echo "All tiers passed: emulator, and $tiers with headers of CANN."
