#!/bin/sh
# Puts httpjail, its table and its policies on a node: install.sh once|policies|follow
#
# The node's own directories are mounted at their own paths. What is written is written beside and moved into place, so that whatever
# reads it finds the old or the new. A policy that httpjail does not take, or whose tests fail, never gets there: the old one stays.
set -eu
umask 022
OWN=${HTTPJAIL_OWN:-/opt/httpjail/httpjail}
MAPS=${HTTPJAIL_MAPS:-/config}
NODE=${HTTPJAIL_NODE:-}
PROGRAM=$NODE/usr/local/bin/httpjail
ETC=$NODE/etc/httpjail

# Copies $1 to $2 with the mode $3, if it differs.
put() {
    cmp -s "$1" "$2" && return 0
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv "$2.new" "$2"
}

# Whether $1 is a policy that does what its own `tests:` say.
valid() {
    "$OWN" check -c "$1" https://policy.invalid/ > /dev/null || [ $? -eq 1 ] || return 1
    ! grep -q '^tests:' "$1" || "$OWN" check -c "$1" --tests >&2
}

# All policies of the ConfigMap that are some. Fails if one is not.
policies() {
    failed=0
    mkdir -p "$ETC/policies"
    for policy in "$MAPS"/policies/*.yaml; do
        [ -e "$policy" ] || continue
        echo "${policy##*/}"
        cmp -s "$policy" "$ETC/policies/${policy##*/}" && continue
        # What is checked is what is written: the ConfigMap may change in between.
        checked=$(mktemp)
        cp "$policy" "$checked"
        if valid "$checked"; then
            put "$checked" "$ETC/policies/${policy##*/}" 644
        else
            echo "error: ${policy##*/} is not taken, the old one stays" >&2
            failed=1
        fi
        rm -f "$checked"
    done > "$ETC/policies/from.new"
    # What is in the ConfigMap no more denies everything.
    for policy in "$ETC"/policies/*.yaml; do
        if [ -e "$policy" ] && [ ! -e "$MAPS/policies/${policy##*/}" ] && grep -qs "^${policy##*/}$" "$ETC/policies/from-configmap"; then
            printf 'version: 1\nrules: []\n' > "$ETC/policies/none"
            put "$ETC/policies/none" "$policy" 644
            rm -f "$ETC/policies/none"
        fi
    done
    cat "$ETC/policies/from-configmap" >> "$ETC/policies/from.new" 2> /dev/null || true
    sort -u -o "$ETC/policies/from.new" "$ETC/policies/from.new"
    mv "$ETC/policies/from.new" "$ETC/policies/from-configmap"
    return "$failed"
}

case ${1:-} in
once)
    mkdir -p "$ETC" "${PROGRAM%/*}"
    # Before the executable: a new policy may need nothing of a new httpjail, a new httpjail never starts without a policy.
    policies
    put "$MAPS/node/runtime.yaml" "$ETC/runtime.yaml" 644
    put "$OWN" "$PROGRAM" 755
    before=$(cat "$NODE/etc/containerd/config.toml" 2>/dev/null || true)
    [ -n "$NODE" ] || "$PROGRAM" runtime install containerd
    after=$(cat "$NODE/etc/containerd/config.toml" 2>/dev/null || true)
    [ "$before" = "$after" ] || echo "httpjail: containerd has a new runtime; it knows of it when it is started again on this node" >&2
    ;;
policies)
    policies
    ;;
follow)
    # The kubelet swaps the mounted ConfigMap within about a minute of a change; jails see a changed file within two seconds.
    while true; do
        policies || true
        sleep 10
    done
    ;;
*)
    echo "usage: install.sh once|policies|follow" >&2
    exit 2
    ;;
esac
