# shellcheck shell=bash
# Sourced by the run_*.sh scripts: options as key=value, --key=value or --key value.

# parse_options ARGUMENTS...: calls `set_option NAME [VALUE]`, which the script defines, for each option in turn.
# --help calls the script's `usage`. The word after --key is its value unless it is an option itself.
parse_options() {
  local name
  while (($#)); do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --*=* | [A-Za-z_]*=*)
        name="${1%%=*}"
        set_option "${name#--}" "${1#*=}"
        ;;
      --*)
        if (($# < 2)) || [[ "$2" == --* || "$2" =~ ^[A-Za-z_]+= ]]; then
          set_option "${1#--}"
        else
          set_option "${1#--}" "$2"
          shift
        fi
        ;;
      *)
        die "argument '$1' is neither key=value nor --key value (see --help)"
        ;;
    esac
    shift
  done
}

# pass_on NAME [VALUE]: keeps an option for the `neonext` command, in OPTIONS.
OPTIONS=()
pass_on() {
  OPTIONS+=("--$1${2+=$2}")
}

# take_positional ARGUMENTS...: the words before the first option as the official model zoo names them, [RANK_TABLE_FILE]
# [DATASET_PATH] [CONFIG_PATH] [RESUME_CKPT]; the rank table is the one that ends in .json. Sets POSITIONAL to their number.
POSITIONAL=0
take_positional() {
  local names=(data_dir config resume)
  [[ "${1:-}" != *.json ]] || names=(rank_table "${names[@]}")
  while (($#)) && [[ "$1" != -* && "$1" != *=* ]]; do
    ((POSITIONAL < ${#names[@]})) ||
      die "argument '$1' is one too many: expected [RANK_TABLE_FILE] [DATASET_PATH] [CONFIG_PATH] [RESUME_CKPT]"
    set_option "${names[POSITIONAL]}" "$1"
    POSITIONAL=$((POSITIONAL + 1))
    shift
  done
}
