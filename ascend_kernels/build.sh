#!/bin/bash
# Builds the NeoCell operators for ascend910b and ascend910_93 with the CANN toolkit and installs them.
#
#   bash build.sh [INSTALL_FOLDER]     default: ~/.neonext/ascend
#
# Needs ASCEND_HOME_PATH (`source .../ascend-toolkit/set_env.sh`), cmake 3.19 or later, g++ and python3. The sources are
# staged with the build files of CANN's own operator template; nothing is written beside them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -m "${1:-$HOME/.neonext/ascend}")  # the installer takes absolute paths only

missing=0
need() {  # need TEST PATH HINT
    if ! test "$1" "$2"; then
        echo "missing: $2 ($3)" >&2
        missing=1
    fi
}
if [ -z "${ASCEND_HOME_PATH:-}" ]; then
    echo "missing: ASCEND_HOME_PATH (install the CANN toolkit and source its set_env.sh)" >&2
    exit 1
fi
template=$ASCEND_HOME_PATH/tools/op_project_templates/ascendc/customize
need -d "$template/cmake" "CANN toolkit, operator templates"
need -d "$template/scripts" "CANN toolkit, operator templates"
need -x "$ASCEND_HOME_PATH/toolkit/tools/opbuild/op_build" "CANN toolkit, op_build"
need -d "$ASCEND_HOME_PATH/compiler/ccec_compiler/bin" "CANN toolkit, bisheng compiler"
for program in cmake g++ python3; do
    if ! command -v "$program" > /dev/null; then
        echo "missing: $program (install it with the system's package manager)" >&2
        missing=1
    fi
done
[ "$missing" -eq 0 ] || exit 1

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp -r "$template/cmake" "$template/scripts" "$template/CMakeLists.txt" "$template/build.sh" "$stage"
mkdir "$stage/op_host" "$stage/op_kernel"
cp "$template/op_host/CMakeLists.txt" "$here"/op_host/* "$stage/op_host"
cp "$template/op_kernel/CMakeLists.txt" "$here"/op_kernel/* "$stage/op_kernel"
cp "$here"/common/*.h "$stage/op_kernel"  # the template's only include folder for host and kernel
cp "$here/CMakePresets.json" "$stage"

(cd "$stage" && bash build.sh)
package=$(find "$stage/build_out" -maxdepth 1 -name 'custom_opp_*.run' | head -n 1)
if [ -z "$package" ]; then
    echo "the build produced no custom_opp_*.run; its messages above name the reason" >&2
    exit 1
fi
mkdir -p "$target"
bash "$package" --install-path="$target"
echo "Installed. Before running, and in every shell:"
echo "  export ASCEND_CUSTOM_OPP_PATH=$target/vendors/neonext\${ASCEND_CUSTOM_OPP_PATH:+:\$ASCEND_CUSTOM_OPP_PATH}"
