# shellcheck shell=bash
# Sourced by the other scripts: root rights and Debian packages, asked for without ever prompting.

APT_UPDATED=

# Run a command as root; false when that needs a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
    as_root true 2>/dev/null
}

may_install() {
    command -v apt-get >/dev/null && may_be_root
}

# Package lists are fetched once a run, and only when something is to be installed.
apt_install() {
    echo "installing $*"
    if [ -z "$APT_UPDATED" ]; then
        as_root apt-get update -qq </dev/null || echo "apt-get update failed: going on with the lists at hand" >&2
        APT_UPDATED=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}
