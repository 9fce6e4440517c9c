#!/bin/sh
# What a core-only install must do: LEADLINE is its command. Each line is an exit code and a command.
set -u
leadline=${LEADLINE:-leadline}
folder=$(mktemp -d) && cd "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
expect() {
  code=$1 word=$2; shift 2
  said=$($leadline "$@" 2>&1 >out.txt); got=$?
  case "$got $said" in
    "$code "*"$word"*) echo "ok $code: $*" ;;
    *) echo "NOT $code but $got: $*: $said"; failed=1 ;;
  esac
}
expect 0 "" --help
expect 0 "" check masked-stack layers=1 --json a.json
expect 0 "" check wavenet layers=1 --strict
expect 0 "" claims A1
expect 2 "leadline[report]" check masked-stack layers=1 --html a.html
expect 2 "leadline[train]" train wavenet --data tones --steps 1
expect 2 "leadline[train]" train pixelcnn --data digits --steps 1
expect 2 "leadline[sweep]" sweep chain layers=2 --measure span.steps --out swept
exit $failed
