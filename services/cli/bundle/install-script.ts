import { IMAGES, type Manifest, SITE, SUMS, startCommand } from "./manifest.js";

/**
 * `install.sh` of a bundle: does what `longshore bundle install` does, with nothing but a POSIX shell, sha256sum and
 * docker, since a machine without a network has no `longshore` command yet. Pure.
 */
export function installScript(manifest: Pick<Manifest, "version" | "platform" | "profiles" | "images">): string {
  const { version, platform, images } = manifest;
  return `#!/bin/sh
# Installs Longshore ${version} from this directory, without a network. Made by \`longshore bundle\`.
set -eu
PLATFORM='${platform}'
IMAGES='${images.map(({ name }) => name).join(" ")}'
START='${startCommand(manifest)}'
${BODY}`;
}

/** Names of files in a bundle need no quoting (isSafePath); that of the directory does. */
const BODY = String.raw`
usage() {
  echo "usage: sh install.sh [--dir DIR] [--dry-run] [--force]   (default: ./longshore)"
}
fail() {
  echo "install.sh: $1" >&2
  exit 1
}

dir=longshore
dry=
force=
while [ $# -gt 0 ]; do
  case $1 in
    --dir) [ $# -gt 1 ] || { usage >&2; exit 2; }; dir=$2; shift ;;
    --dry-run) dry=1 ;;
    --force) force=1 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
cd "$(dirname "$0")"

# All is checked before anything is loaded.
odd=$(find . ! -type f ! -type d | head -n 1)
[ -z "$odd" ] || fail "$odd isn't a plain file: this isn't a whole Longshore bundle. Nothing was loaded"
sha256sum --check --strict --quiet ${SUMS} || fail "the bundle was altered or isn't whole. Nothing was loaded: unpack it again, or copy it again"
listed=$(sed 's/^[0-9a-f]*  //' ${SUMS} | LC_ALL=C sort)
found=$(find . -type f ! -path ./${SUMS} | sed 's/^\.\///' | LC_ALL=C sort)
[ "$listed" = "$found" ] || fail "files were added to the bundle. Nothing was loaded: unpack it again"
echo "all checksums are right"
command -v docker > /dev/null || fail "there is no docker command here: install Docker with its Compose plugin"
here=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}') || fail "the Docker engine doesn't answer: is it running, and may you use it?"
[ "$here" = "$PLATFORM" ] || fail "the bundle is for $PLATFORM, and this engine is $here"

files=$(cd ${SITE} && find . -type f | sed 's/^\.\///')
for file in $files; do
  # Nothing is written through a link that lies in the directory.
  part=$file
  while [ "$part" != . ]; do
    [ ! -L "$dir/$part" ] || fail "$dir/$part is a link. Nothing was loaded: remove it"
    part=$(dirname "$part")
  done
  if [ -e "$dir/$file" ] && [ "$file" != .env ] && [ -z "$force" ] && ! cmp -s "${SITE}$file" "$dir/$file"; then
    fail "$dir/$file is there already and differs. Nothing was loaded: --force replaces it, --dir names another directory"
  fi
done
if [ -n "$dry" ]; then
  echo "would load: $IMAGES"
  echo "would write $(echo "$files" | wc -l) files to $dir"
  exit 0
fi

echo "loading the images"
docker load --quiet --input ${IMAGES}
for image in $IMAGES; do
  docker image inspect "$image" > /dev/null 2>&1 || fail "the engine has no $image after loading: look at its log"
done
for file in $files; do
  target=$dir/$file
  mkdir -p "$(dirname "$target")"
  # Settings that somebody made here stay.
  if [ "$file" = .env ] && [ -e "$target" ] && ! cmp -s "${SITE}.env" "$target"; then
    target=$dir/.env.new
    echo "$dir/.env stays as it is; the bundle's is beside it as .env.new"
  fi
  cp "${SITE}$file" "$target.tmp$$"
  mv -f "$target.tmp$$" "$target"
done
echo "installed in $dir. Start it:"
echo "  cd '$dir' && $START"
`;
