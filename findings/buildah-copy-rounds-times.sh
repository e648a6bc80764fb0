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
# Unpacks Debian packages in a temporary folder, on Debian 12 (amd64), as root, which buildah needs for
# its chroots; nothing is installed on the machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
packages=(
  buildah=1.28.2+ds1-3+deb12u1+b3
  libgpgme11=1.18.0-3+deb12u1
  libassuan0=2.5.5-5
  libdevmapper1.02.1=2:1.02.185-2
)
apt-get download -qq "${packages[@]}" 2>/dev/null
for package in *.deb; do
  dpkg-deb --extract "$package" unpacked
done
export LD_LIBRARY_PATH="$folder/unpacked/usr/lib/x86_64-linux-gnu:$folder/unpacked/lib/x86_64-linux-gnu"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >policy.json
touch registries.conf
buildah() {
  unpacked/usr/bin/buildah --root "$folder/root" --runroot "$folder/run" --storage-driver vfs \
    --registries-conf registries.conf "$@"
}

mkdir context
touch -d @1700000000.3 context/early
touch -d @1700000000.7 context/late
printf '%s\n' 'FROM scratch AS one' 'COPY early late /x/' 'FROM scratch' 'COPY --from=one /x /x' \
  >context/Containerfile
buildah bud --quiet --isolation chroot --signature-policy policy.json --tag copied context >/dev/null
container=$(buildah from --pull-never --signature-policy policy.json copied)
times=$(cd "$(buildah mount "$container")/x" && stat --format '%n %Y' early late)
buildah umount "$container" >/dev/null
echo "changed at 1700000000.3 and .7, and in the image:"
echo "$times"
test "$times" = "early 1700000000"$'\n'"late 1700000001"
