#!/usr/bin/env bash
# No source file is longer than 500 lines: past that it holds more than one idea. Generated and golden files are as long as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit=500
long=$(git ls-files -z --cached --others --exclude-standard -- '*.py' '*.java' '*.sh' '*.yaml' 'scripts/*' Makefile \
  ':!crds' ':!deploy' ':!helm/superduper/templates/crds' ':!*/golden/*' |
  xargs -0 awk -v limit="$limit" 'FNR == limit + 1 { print FILENAME }')
if [[ -n $long ]]; then
  echo "longer than $limit lines, split them by idea:" >&2
  xargs wc -l <<<"$long" >&2
  exit 1
fi
