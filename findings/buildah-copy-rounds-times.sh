#!/usr/bin/env bash
# Times of files that are copied into an image.
#
# One would assume: `COPY --from` keeps the time at which a file was changed, or cuts it off to whole
# seconds, as a commit does. Python relies on it: bytecode notes the time of its source in whole
# seconds, cut off.
#
# Seen with buildah 1.28.2 (Debian 12): the time is rounded. Of files that pip has installed in a
# first stage, half are one second younger in the second; their bytecode is stale, and under a
# read-only root every start of Python compiles them anew.
#
# Needs the Debian package buildah, and root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
touch -d @1700000000.3 early
touch -d @1700000000.7 late
printf '%s\n' 'FROM scratch AS one' 'COPY early late /x/' 'FROM scratch' 'COPY --from=one /x /x' >Containerfile
keep=(--root "$folder/root" --runroot "$folder/run")
buildah "${keep[@]}" bud --quiet --isolation chroot --tag copied . >/dev/null
container=$(buildah "${keep[@]}" from --pull-never copied)
times=$(cd "$(buildah "${keep[@]}" mount "$container")/x" && stat --format '%n %Y' early late)
buildah "${keep[@]}" rm "$container" >/dev/null
echo "changed at 1700000000.3 and .7, and in the image:"
echo "$times"
test "$times" = "early 1700000000"$'\n'"late 1700000001"
